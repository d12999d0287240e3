"""A streamed answer is passed on as it comes, byte for byte."""

import httpx
import pytest
from mitm import CLIENT_HEADERS, VIRTUAL, Routing, question, trusting, until

from core.simulator import SCENARIOS, Fault

FIRST = b"event: message_start\n"
LAST = b"event: message_stop\n"
VERSIONS = {"HTTP/1.1": False, "HTTP/2": True}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", ["over-pace", "under-pace"])
def test_the_first_event_comes_before_the_last_is_sent(shared, scenario, version):
    routing: Routing = shared(scenario)
    http2 = VERSIONS[version]
    routing.sim.inject(Fault(SCENARIOS[scenario].winner, hold_after_events=1))
    tls = trusting(routing.proxy.ca, http2=http2)
    with (
        routing.client(http2=http2, verify=tls) as client,
        client.stream(
            "POST",
            f"{VIRTUAL}/v1/messages",
            json=question(stream=True),
            headers={"anthropic-version": "2023-06-01", **CLIENT_HEADERS},
        ) as answer,
    ):
        chunks = answer.iter_raw()
        received = next(chunks)
        written = routing.served_one().response
        assert received.startswith(FIRST)
        assert written == received
        assert LAST not in written
        routing.sim.release()
        received += b"".join(chunks)
    assert answer.http_version == version
    assert "content-encoding" not in answer.headers
    assert LAST in received
    assert received == routing.served_one().response


def test_a_broken_stream_is_never_made_whole(under_pace):
    """Nor does it harm the next request on the same connection pool."""
    under_pace.sim.inject(Fault("anthropic", cut_after_events=3))
    request = {"json": question(stream=True), "headers": {"anthropic-version": "2023-06-01"}}
    with under_pace.client() as client:
        with client.stream("POST", f"{VIRTUAL}/v1/messages", **request) as answer:
            received: list[bytes] = []
            with pytest.raises(httpx.RemoteProtocolError):
                received.extend(answer.iter_raw())
        again = client.post(f"{VIRTUAL}/v1/messages", **request)
    broken, whole = under_pace.served()
    assert b"".join(received) == broken.response
    assert LAST not in broken.response
    assert again.content == whole.response


def test_a_client_that_leaves_takes_the_upstream_request_along(under_pace):
    under_pace.sim.inject(Fault("anthropic", hold_after_events=1))
    request = {"json": question(stream=True), "headers": {"anthropic-version": "2023-06-01"}}
    with (
        under_pace.client() as client,
        client.stream("POST", f"{VIRTUAL}/v1/messages", **request) as answer,
    ):
        next(answer.iter_raw())
    # The simulator's own task ends when its client, the proxy, has gone.
    until(lambda: not under_pace.sim._waiting.gates, "the provider's connection to close")
    assert LAST not in under_pace.served_one().response
