"""Faults that are asked for: errors, waits, holds, cuts, and errors inside a stream."""

import threading

import httpx
import pytest
from simulator_caller import PROVIDERS, Caller, Clock, body, error_of, events

from core.simulator import Fault, Simulator

STREAM = body(stream=True)


@pytest.mark.parametrize(
    ("provider", "status", "error"),
    [
        ("anthropic", 429, "rate_limit_error"),
        ("anthropic", 500, "api_error"),
        ("anthropic", 529, "overloaded_error"),
        ("github-copilot", 402, "quota_exceeded"),
        ("github-copilot", 429, "rate_limited"),
        ("github-copilot", 502, "internal_error"),
    ],
)
def test_a_status_in_the_provider_s_own_words(
    caller: Caller, provider: str, status: int, error: str
) -> None:
    caller.sim.inject(Fault(status=status))
    refused = caller.ask(provider, STREAM)
    assert error_of(refused)[:2] == (status, error)
    assert error_of(refused)[2]
    assert caller.ask(provider, STREAM).status_code == 200
    assert [it.status for it in caller.sim.requests] == [status, 200]
    assert len(caller.sim.served(provider)) == 1


def test_a_fault_in_the_test_s_words(caller: Caller) -> None:
    headers = {"retry-after": "7"}
    fault = Fault(status=429, error="user_weekly_rate_limited", message="Sorry.", headers=headers)
    caller.sim.inject(fault)
    refused = caller.ask("github-copilot", body())
    assert error_of(refused) == (429, "user_weekly_rate_limited", "Sorry.")
    assert refused.headers["retry-after"] == "7"


def test_faults_are_used_in_order_by_who_they_are_for(caller: Caller) -> None:
    caller.sim.inject(Fault("github-copilot", status=503))
    caller.sim.inject(Fault("anthropic", status=529, times=2))
    caller.sim.inject(Fault(status=500))
    asked = [caller.ask("anthropic", body()).status_code for _ in range(4)]
    assert asked == [529, 529, 500, 200]
    assert caller.ask("github-copilot", body()).status_code == 503


def test_a_request_that_is_refused_anyway_uses_no_fault(caller: Caller) -> None:
    caller.sim.inject(Fault(status=529))
    assert caller.ask("anthropic", {}).status_code == 400
    assert caller.ask("anthropic", body()).status_code == 529


def test_headers_of_a_fault_replace_the_usual_ones(caller: Caller) -> None:
    caller.sim.inject(Fault(headers={"Anthropic-Ratelimit-Unified-Status": "queueing_soft"}))
    answer = caller.ask("anthropic", body())
    assert answer.headers.get_list("anthropic-ratelimit-unified-status") == ["queueing_soft"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_first_event_is_there_before_the_release(caller: Caller, provider: str) -> None:
    caller.sim.inject(Fault(hold_after_events=1))
    with caller.http.stream_from(caller.question(provider, STREAM)) as answer:
        lines = answer.iter_lines()
        first = events(next(lines) + "\n" + next(lines))
        assert [it["type"] for it in first] == ["message_start"]
        (held,) = caller.sim.requests
        assert events(held.response.decode()) == first
        caller.sim.release()
        rest = events("\n".join(lines))
    assert rest[-1]["type"] == "message_stop"


def test_headers_come_before_a_stream_that_is_held_at_once(caller: Caller) -> None:
    caller.sim.inject(Fault(hold_after_events=0))
    with caller.http.stream_from(caller.question("anthropic", STREAM)) as answer:
        assert answer.status_code == 200
        caller.sim.release()
        assert events(answer.read().decode())[-1]["type"] == "message_stop"


def test_held_to_the_end(caller: Caller) -> None:
    caller.sim.inject(Fault(hold_after_events=11))
    with caller.http.stream_from(caller.question("anthropic", STREAM)) as answer:
        lines = answer.iter_lines()
        while "message_stop" not in next(lines):
            pass
        caller.sim.release()
        assert list(lines)


@pytest.mark.parametrize("fault", [Fault(delay_s=600), Fault(status=529, delay_s=600)])
def test_a_delay_ends_with_a_release(caller: Caller, fault: Fault) -> None:
    caller.sim.inject(fault)
    found: list[int] = []
    asking = threading.Thread(
        target=lambda: found.append(caller.ask("anthropic", body()).status_code)
    )
    asking.start()
    while asking.is_alive():
        caller.sim.release()
    asking.join()
    assert found == [fault.status or 200]


def test_a_delay_ends_by_itself(caller: Caller) -> None:
    caller.sim.inject(Fault(delay_s=0.001))
    assert caller.ask("anthropic", body()).status_code == 200


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_stream_that_is_cut(caller: Caller, count: int) -> None:
    caller.sim.inject(Fault(cut_after_events=count))
    got = []
    with (
        pytest.raises(httpx.RemoteProtocolError),
        caller.http.stream_from(caller.question("anthropic", STREAM)) as answer,
    ):
        got += list(answer.iter_lines())
    (cut,) = caller.sim.requests
    assert (cut.status, len(events(cut.response.decode()))) == (200, count)
    assert caller.ask("anthropic", STREAM).status_code == 200


@pytest.mark.parametrize(("count", "asked"), [(-1, STREAM), (-1, body()), (0, body()), (1, body())])
def test_a_connection_that_is_cut_before_any_answer(
    caller: Caller, count: int, asked: dict[str, object]
) -> None:
    caller.sim.inject(Fault(cut_after_events=count))
    with pytest.raises(httpx.RemoteProtocolError):
        caller.ask("anthropic", asked)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_error_as_the_first_event(caller: Caller, provider: str) -> None:
    caller.sim.inject(Fault(in_stream_error="overloaded_error"))
    answer = caller.ask(provider, STREAM)
    assert answer.status_code == 200
    assert answer.text.startswith("event: error\n")
    error = {"type": "overloaded_error", "message": "Overloaded"}
    assert events(answer.text) == [{"type": "error", "error": error}]


def test_an_error_in_a_stream_is_a_status_where_there_is_none(caller: Caller) -> None:
    caller.sim.inject(Fault(in_stream_error="overloaded_error"))
    caller.sim.inject(Fault(in_stream_error="api_error"))
    assert error_of(caller.ask("anthropic", body()))[:2] == (529, "overloaded_error")
    assert error_of(caller.ask("anthropic", body()))[:2] == (500, "api_error")


def test_a_client_that_goes_away_harms_nobody(caller: Caller) -> None:
    caller.sim.inject(Fault(hold_after_events=2))
    with caller.http.stream_from(caller.question("anthropic", STREAM)) as answer:
        next(answer.iter_lines())
    assert caller.ask("anthropic", STREAM).status_code == 200
    assert len(caller.sim.requests) == 2


def test_stopping_lets_go_of_what_is_held(clock: Clock) -> None:
    with Simulator(clock=clock) as sim, Caller(sim) as caller:
        sim.inject(Fault(hold_after_events=1))
        with caller.http.stream_from(caller.question("anthropic", STREAM)) as answer:
            lines = answer.iter_lines()
            next(lines)
            sim.stop()
            assert events("\n".join(lines))[-1]["type"] == "message_stop"
