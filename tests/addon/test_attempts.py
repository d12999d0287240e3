"""An answer that is held, and the request that is sent again in its place."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from driver import Driver
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived
from mitmproxy import http
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy.layers.http import GetHttpConnection

from addon import translate
from addon.flows import FLOWS, Flows, Routed
from addon.held import HELD_BYTES, HELD_S
from addon.show import show
from addon.stream import RoutedHttpLayer, RoutedStream
from core import Forward, HttpRequest, HttpResponse
from core.continuity import Thinking
from core.model import (
    Account,
    AccountKind,
    Ask,
    Candidate,
    Credential,
    CredentialType,
    Explanation,
    Route,
    Secret,
    Wire,
)
from core.providers import known

TOKEN = "sk-ant-oat01-TOKEN"
POST = (
    b"POST http://limit-router.invalid/v1/messages HTTP/1.1\r\nHost: limit-router.invalid\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)
REFUSAL = b'{"error":"no"}'
HEAD = b"HTTP/1.1 400 Bad Request\r\nx-from: first\r\nContent-Length: %d\r\n\r\n"
REFUSED = HEAD % len(REFUSAL) + REFUSAL
CHUNKED = (
    b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"7\r\n%b\r\n" % REFUSAL[:7],
    b"7\r\n%b\r\n" % REFUSAL[7:],
    b"0\r\n\r\n",
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld"
HOOKS = ["requestheaders", "request", "responseheaders", "response"]
BROKEN = [*HOOKS[:2], "error"]


def forward(body: bytes = b"first", **changes) -> Forward:
    request = HttpRequest(
        *("POST", "http", "provider.invalid", 8000, "/v1/messages"),
        (("content-type", "application/json"), ("content-length", str(len(body)))),
        body,
    )
    account = Account("anthropic", "abc", AccountKind.SUBSCRIPTION)
    route = Route(
        Candidate("anthropic", "claude-m", account),
        lambda: Explanation("anthropic: it is best", ()),
    )
    credential = Credential(CredentialType.OAUTH, Secret(TOKEN), "a test", "abc")
    made = Forward(request, Ask(Wire.MESSAGES, "m"), route, credential, known()["anthropic"], 0.0)
    return replace(made, **{"thinking": Thinking(carried=1), "request_id": "r"} | changes)


AGAIN = forward(b"again!", thinking=Thinking(removed=2, off=True), attempt=2)


@dataclass
class Engine:
    """Says what becomes of a refusal."""

    again: Forward | None = AGAIN
    asked: list[tuple[Forward, HttpRequest, HttpResponse]] = field(default_factory=list)

    def repeat(
        self, before: Forward, original: HttpRequest, answer: HttpResponse
    ) -> Forward | None:
        self.asked.append((before, original, answer))
        return self.again


@dataclass
class Play:
    """A request that is routed, and what is known of it."""

    driver: Driver
    engine: Engine
    ended: list[Forward] = field(default_factory=list)
    """The attempt that was at work when a flow was over."""

    @property
    def flow(self) -> http.HTTPFlow:
        (flow,) = self.driver.flows
        return flow


@pytest.fixture
def begin(context, flows: Flows) -> Callable[..., Play]:
    def begin(first: Forward | None = None, again: Forward | None = AGAIN, **more) -> Play:
        first = first or forward()
        engine = flows.engine = Engine(again)

        def request(flow: http.HTTPFlow) -> None:
            flows.add(flow.id, Routed(translate.request_of(flow.request), first))
            show(flow, first)

        def stream(flow: http.HTTPFlow) -> None:
            flow.response.stream = True

        def end(flow: http.HTTPFlow) -> None:
            play.ended.append(flows.get(flow.id).forward)
            flows.end(flow.id)

        hooks = {"request": request, "responseheaders": stream, "response": end, "error": end}
        play = Play(Driver(RoutedHttpLayer, context.options, hooks, **more), engine)
        play.driver.client_sends(POST)
        return play

    return begin


def assert_sent_again(play: Play) -> None:
    driver = play.driver
    old, new = driver.servers
    assert (old.connected, new.connected) == (False, True)
    assert driver.sent("client") == b""
    second = driver.sent("server").partition(b"first")[2]
    assert second == (
        b"POST /v1/messages HTTP/1.1\r\nHost: provider.invalid:8000\r\n"
        b"content-type: application/json\r\ncontent-length: 6\r\n"
        b"authorization: Bearer %s\r\n\r\nagain!" % TOKEN.encode()
    )
    driver.server_sends(OK)
    assert driver.sent("client") == OK
    assert driver.hooked() == HOOKS
    assert play.ended == [AGAIN]
    assert TOKEN not in repr(play.flow.get_state())


@pytest.mark.parametrize(
    "pieces", [[REFUSED], [REFUSED[:30], REFUSED[30:80], REFUSED[80:]], CHUNKED]
)
def test_the_client_gets_the_second_answer_and_no_addon_the_first(begin, pieces):
    play = begin()
    for piece in pieces:
        assert play.driver.sent("client") == b""
        play.driver.server_sends(piece)
    ((before, original, answer),) = play.engine.asked
    assert before == forward()
    assert (original.host, original.body) == ("limit-router.invalid", b"hello")
    assert (answer.status, answer.body) == (400, REFUSAL)
    assert_sent_again(play)
    play.driver.time_passes()
    assert play.driver.hooked() == HOOKS


def test_a_refusal_that_ends_with_its_connection(begin):
    play = begin()
    play.driver.server_sends(b"HTTP/1.0 400 Bad Request\r\n\r\n" + REFUSAL)
    play.driver.server_closes()
    assert [it[2].body for it in play.engine.asked] == [REFUSAL]
    assert_sent_again(play)


def test_the_flow_shows_the_attempt_at_work(begin):
    play = begin()
    assert play.flow.comment == "anthropic claude-m: it is best"
    play.driver.server_sends(REFUSED)
    flow = play.flow
    assert flow.request.raw_content == b"again!"
    assert flow.comment == (
        "anthropic claude-m: it is best (2 thinking blocks left out, thinking off after a refusal)"
    )
    assert flow.metadata["limit_router.attempts"] == 2


def test_the_connection_serves_the_next_request_too(begin):
    play = begin()
    play.driver.server_sends(REFUSED)
    play.driver.server_sends(OK)
    play.driver.client_sends(POST)
    play.driver.server_sends(OK)
    assert play.driver.sent("client") == OK * 2
    assert len(play.driver.servers) == 2


@pytest.mark.parametrize(
    "pieces", [[REFUSED], [REFUSED[:30], REFUSED[30:80], REFUSED[80:]], CHUNKED]
)
def test_another_400_goes_on_as_it_came(begin, pieces):
    play = begin(again=None)
    for piece in pieces:
        play.driver.server_sends(piece)
    assert len(play.engine.asked) == 1
    assert play.driver.sent("client") == b"".join(pieces)
    assert play.driver.hooked() == HOOKS
    assert play.ended == [forward()]
    assert len(play.driver.servers) == 1


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (forward(), OK),
        (forward(), REFUSED.replace(b"400 Bad Request", b"429 Too Many Requests")),
        (forward(), b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        (forward(thinking=Thinking(removed=1)), REFUSED),
        (forward(attempt=2), REFUSED),
        (forward(provider=replace(known()["anthropic"], thinking_refusals={})), REFUSED),
    ],
)
def test_nothing_else_is_held_at_all(begin, first, answer):
    play = begin(first)
    head = answer[: answer.index(b"\r\n\r\n") + 4]
    play.driver.server_sends(head)
    assert play.driver.sent("client") == head
    play.driver.server_sends(answer[len(head) :])
    assert play.driver.sent("client") == answer
    assert (play.engine.asked, play.driver.timers) == ([], [])


def test_nothing_is_sent_again_while_credentials_would_be_printed(begin, flows):
    play = begin()
    flows.unsafe = "proxy_debug prints all"
    play.driver.server_sends(REFUSED)
    assert (play.engine.asked, play.driver.sent("client")) == ([], REFUSED)


def test_what_is_longer_than_a_refusal_goes_on_as_it_comes(begin):
    play = begin()
    head = HEAD % (HELD_BYTES + 9)
    play.driver.server_sends(head + b"x" * HELD_BYTES)
    assert play.driver.sent("client") == b""
    play.driver.server_sends(b"yy")
    assert play.driver.sent("client") == head + b"x" * HELD_BYTES + b"yy"
    play.driver.server_sends(b"zzzzzzz")
    assert play.driver.sent("client").endswith(b"yyzzzzzzz")
    assert play.engine.asked == []
    assert play.driver.hooked() == HOOKS


def test_what_takes_longer_than_a_refusal_goes_on_as_it_comes(begin):
    play = begin()
    play.driver.server_sends(REFUSED[:-4])
    assert [it.delay for it in play.driver.timers] == [HELD_S]
    assert play.driver.sent("client") == b""
    play.driver.time_passes()
    assert play.driver.sent("client") == REFUSED[:-4]
    play.driver.server_sends(REFUSED[-4:])
    assert play.driver.sent("client") == REFUSED
    assert play.engine.asked == []
    assert play.driver.hooked() == HOOKS


def test_a_provider_that_leaves_in_mid_refusal(begin):
    play = begin()
    play.driver.server_sends(REFUSED[:-4])
    play.driver.server_closes()
    assert play.driver.sent("client") == REFUSED[:-4]
    assert ("close", "client") in play.driver.did
    assert play.driver.hooked() == [*HOOKS[:3], "error"]
    assert play.ended == [forward()]


def test_a_client_that_leaves_in_mid_refusal(begin):
    play = begin()
    play.driver.server_sends(REFUSED[:-4])
    play.driver.client_closes()
    assert not play.driver.servers[0].connected
    play.driver.time_passes()
    assert play.driver.sent("client") == b""
    assert play.engine.asked == []
    assert play.driver.hooked() == BROKEN
    assert play.ended == [forward()]


def test_a_client_that_leaves_while_the_second_connection_is_made(begin):
    """It is not sent: it would cost, and nobody wants it."""
    play = begin()
    play.driver.slow = True
    play.driver.server_sends(REFUSED)
    play.driver.client_closes()
    already = play.driver.sent("server")
    play.driver.opened()
    assert play.driver.sent("server") == already
    assert play.driver.hooked() == BROKEN
    assert play.ended == [AGAIN]
    assert not play.flow.live


def test_a_flow_that_is_killed_in_mid_refusal(begin):
    play = begin()
    play.driver.server_sends(REFUSED[:-4])
    play.flow.kill()
    play.driver.server_sends(REFUSED[-4:])
    assert play.engine.asked == []
    assert play.driver.hooked() == BROKEN
    assert play.ended == [forward()]
    assert len(play.driver.servers) == 1


def test_a_provider_that_is_gone_the_second_time(begin):
    play = begin()
    play.driver.refusals = ["refused"]
    play.driver.server_sends(REFUSED)
    assert play.driver.sent("client").startswith(b"HTTP/1.1 502 ")
    assert play.driver.hooked() == BROKEN
    assert play.ended == [AGAIN]


def test_a_second_attempt_that_would_go_elsewhere_is_not_sent(begin):
    play = begin()
    play.driver.on_open = lambda: setattr(play.flow.request, "path", "/v1/files")
    already = play.driver.sent("server")
    play.driver.server_sends(REFUSED)
    assert play.driver.sent("server") == already
    assert play.driver.sent("client").startswith(b"HTTP/1.1 502 ")
    assert play.driver.hooked() == BROKEN


def test_a_bug_in_it_ends_the_request(begin, caplog):
    play = begin()
    play.engine.asked = None
    play.driver.server_sends(REFUSED)
    assert play.driver.sent("client").startswith(b"HTTP/1.1 502 ")
    assert "AttributeError in the stream layer" in caplog.text
    assert play.driver.hooked() == BROKEN
    assert play.ended == [forward()]


def test_an_empty_body_is_sent_again_as_one(begin):
    play = begin(again=forward(b"", attempt=2))
    play.driver.server_sends(REFUSED)
    assert play.driver.sent("server").endswith(b"Bearer %s\r\n\r\n" % TOKEN.encode())
    play.driver.server_sends(OK)
    assert play.driver.sent("client") == OK


def test_only_a_connection_of_http2_is_shared_by_streams(context, flows):
    driver = Driver(RoutedHttpLayer, context.options)
    wanted = GetHttpConnection(("provider.invalid", 443), tls=True, via=None)

    def server(**facts) -> Server:
        made = Server(address=("provider.invalid", 443))
        for name, value in ({"tls": True, "alpn": b"h2"} | facts).items():
            setattr(made, name, value)
        made.state = facts.get("state", ConnectionState.OPEN)
        driver.layer.connections[made] = driver.layer
        return made

    stream = RoutedStream(driver.layer.context.fork(), 1)
    stream.spent = (server(),)
    driver.layer.waiting_for_establishment[server()].append(wanted)
    server(alpn=b"http/1.1")
    server(tls=False)
    server(address=("other.invalid", 443))
    server(state=ConnectionState.CLOSED)
    assert driver.layer._fresh(wanted, stream) is None
    fresh = server()
    assert driver.layer._fresh(wanted, stream) is fresh
    assert FLOWS.engine is None


class Http2Provider:
    """The other side of one connection."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._server = driver.server
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._read = 0
        self.bodies: dict[int, bytes] = {}

    def reads(self) -> None:
        """All that has been sent to it."""
        sent = self._driver.sent_to(self._server)
        fresh, self._read = sent[self._read :], len(sent)
        for event in self._h2.receive_data(fresh):
            if isinstance(event, RequestReceived):
                self.bodies[event.stream_id] = b""
            if isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data

    def answers(self, status: int, body: bytes) -> None:
        stream = max(self.bodies)
        self._h2.send_headers(stream, [(":status", str(status))])
        self._h2.send_data(stream, body, end_stream=True)
        self._driver.server_sends(self._h2.data_to_send(), self._server)

    def resets(self) -> None:
        self._h2.reset_stream(max(self.bodies), ErrorCodes.NO_ERROR)
        self._driver.server_sends(self._h2.data_to_send(), self._server)

    def ends(self) -> None:
        self._h2.close_connection()
        self._driver.server_sends(self._h2.data_to_send(), self._server)


def test_a_provider_on_http2_that_has_not_read_it_to_the_end(begin):
    """It answers early and resets its stream; the second attempt is none of that stream's."""
    long = b"x" * 100_000
    play = begin(forward(long), slow=True)
    driver = play.driver
    driver.on_open = lambda: setattr(driver.server, "alpn", b"h2")
    driver.opened()
    first = Http2Provider(driver)
    first.reads()
    assert 0 < len(first.bodies[1]) < len(long)
    first.answers(400, REFUSAL)
    driver.opened()
    first.resets()
    assert driver.sent("client") == b""
    first.ends()
    second = Http2Provider(driver)
    second.reads()
    assert second.bodies == {1: b"again!"}
    second.answers(200, b"world")
    assert driver.sent("client").endswith(b"\r\n\r\nworld")
    assert driver.hooked() == HOOKS
    assert play.ended == [AGAIN]
