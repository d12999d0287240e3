"""The stream layer, driven by mitmproxy's own events."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from driver import Driver
from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.layers import ClientTLSLayer
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.layers.modes import HttpProxy
from mitmproxy.proxy.mode_specs import ProxyMode

from addon import stream, translate
from addon.flows import Routed
from addon.stream import RoutedHttpLayer, StreamLayers, substitute
from core import Forward, HttpRequest
from core.model import Ask, Credential, CredentialType, Secret, Wire
from core.providers import known

TOKEN = "sk-ant-oat01-TOKEN"
GET = b"GET http://example.invalid/a HTTP/1.1\r\nHost: example.invalid\r\n\r\n"
POST = (
    b"POST http://example.invalid/a HTTP/1.1\r\nHost: example.invalid\r\n"
    b"Authorization: Bearer own\r\nContent-Length: 5\r\n\r\nhello"
)
CHUNKED = (
    b"POST http://example.invalid/a HTTP/1.1\r\nHost: example.invalid\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)
EXPECT = POST.replace(b"Content-Length", b"Expect: 100-continue\r\nContent-Length")
MESSAGES = POST.replace(b"/a ", b"/v1/messages ")
HEAD_OF_5 = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
OK = HEAD_OF_5 + b"world"
PIECES = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n"
ERROR = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

# What the client (c) and the server (s) do, in turn; None closes.
EXCHANGES = {
    "GET": [("c", GET), ("s", OK)],
    "GET twice": [("c", GET), ("s", OK), ("c", GET), ("s", OK), ("c", None)],
    "POST": [("c", POST), ("s", OK)],
    "POST in pieces": [("c", POST[:40]), ("c", POST[40:-3]), ("c", POST[-3:]), ("s", OK)],
    "POST of a routed path": [("c", MESSAGES), ("s", OK)],
    "chunked": [("c", CHUNKED), ("s", OK)],
    "100-continue": [("c", EXPECT), ("s", OK)],
    "streamed": [("c", GET), ("s", PIECES), ("s", b"0\r\n\r\n")],
    "server error": [("c", POST), ("s", ERROR)],
    "no HTTP from the server": [("c", GET), ("s", b"what?\r\n\r\n")],
    "no HTTP from the client": [("c", b"what?\r\n\r\n")],
    "client leaves before the answer": [("c", GET), ("c", None)],
    "client leaves in mid-request": [("c", POST[:-2]), ("c", None)],
    "client leaves in mid-answer": [("c", GET), ("s", PIECES), ("c", None)],
    "server leaves before the answer": [("c", POST), ("s", None)],
    "server leaves in mid-answer": [("c", POST), ("s", PIECES), ("s", None)],
    "answer until the end": [("c", GET), ("s", b"HTTP/1.0 200 OK\r\n\r\nworld"), ("s", None)],
}


def play(driver: Driver, exchange) -> Driver:
    for who, data in exchange:
        if data is None:
            driver.client_closes() if who == "c" else driver.server_closes()
        else:
            driver.client_sends(data) if who == "c" else driver.server_sends(data)
    return driver


# Streams that are not routed


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("refusals", [[], ["refused"], ["refused", "refused again"]])
def test_what_is_not_routed_is_as_mitmproxy_has_it(context, flows, name, streaming, refusals):
    if refusals and any(who == "s" for who, _ in EXCHANGES[name]):
        exchange = [it for it in EXCHANGES[name] if it[0] == "c"]
    else:
        exchange = EXCHANGES[name]
    hooks = {"responseheaders": _stream_response} if streaming else {}

    def played(layer: type[HttpLayer]) -> Driver:
        return play(Driver(layer, context.options, hooks, list(refusals)), exchange)

    plain, ours = played(HttpLayer), played(RoutedHttpLayer)
    assert ours.did == plain.did
    assert [_told(it) for it in ours.flows] == [_told(it) for it in plain.flows]


@pytest.mark.parametrize("name", ["POST", "chunked", "GET", "100-continue"])
@pytest.mark.parametrize("hook", ["requestheaders", "request", "responseheaders", "response"])
def test_addons_have_the_same_effect(context, flows, name, hook):
    def kill(flow: http.HTTPFlow) -> None:
        flow.kill()

    def answer(flow: http.HTTPFlow) -> None:
        flow.response = http.Response.make(418, b"tea")

    def stream_request(flow: http.HTTPFlow) -> None:
        flow.request.stream = True

    for change in (kill, answer, stream_request):
        did = [
            play(Driver(layer, context.options, {hook: change}), EXCHANGES[name][:1]).did
            for layer in (HttpLayer, RoutedHttpLayer)
        ]
        assert did[0] == did[1]


def test_large_bodies_are_streamed_as_told(context, flows):
    context.options.update(stream_large_bodies="1")
    for exchange in (EXCHANGES["POST"], EXCHANGES["chunked"]):
        did = [
            play(Driver(layer, context.options), exchange).did
            for layer in (HttpLayer, RoutedHttpLayer)
        ]
        assert did[0] == did[1]
        assert any("Streaming request" in it[1] for it in did[0] if it[0] == "log")


def test_an_error_in_another_addon_is_not_swallowed(context, flows):
    def fail(flow: http.HTTPFlow) -> None:
        flow.response.stream = _failing

    for layer in (HttpLayer, RoutedHttpLayer):
        driver = Driver(layer, context.options, {"responseheaders": fail})
        driver.client_sends(GET)
        with pytest.raises(ZeroDivisionError):
            driver.server_sends(OK)


# Routed streams


def forward(**changes) -> Forward:
    request = HttpRequest(
        "POST",
        "http",
        "provider.invalid",
        8000,
        "/v1/messages?beta=true",
        (("content-type", "application/json"), ("content-length", "5")),
        b"hello",
    )
    credential = Credential(CredentialType.OAUTH, Secret(TOKEN), "a test", "abc")
    made = Forward(request, Ask(Wire.MESSAGES, "m"), None, credential, known()["anthropic"], 0.0)
    return replace(made, **changes)


class Routing:
    """The hooks of an addon that routes every request."""

    def __init__(self, flows, where: Forward, *, after=None, responseheaders=None) -> None:
        self.flows, self.where, self.after = flows, where, after
        self.hooks = {"request": self.request, "response": self.end, "error": self.end}
        self.hooks |= dict.fromkeys(("requestheaders", "responseheaders"), self.look)
        if responseheaders:
            self.hooks["responseheaders"] = responseheaders
        self.seen = b""
        """All that any addon could have seen of any flow, at every hook."""

    def request(self, flow: http.HTTPFlow) -> None:
        original = translate.request_of(flow.request)
        self.flows.add(flow.id, Routed(original, self.where))
        translate.set_request(flow.request, self.where.request)
        if self.after:
            self.after(flow)
        self.look(flow)

    def end(self, flow: http.HTTPFlow) -> None:
        self.look(flow)
        self.flows.end(flow.id)

    def look(self, flow: http.HTTPFlow) -> None:
        self.seen += repr(flow.get_state()).encode()


def routed_driver(context, flows, **more) -> tuple[Driver, Routing]:
    where = more.pop("where", None) or forward()
    refusals = more.pop("refusals", [])
    routing = Routing(flows, where, **more)
    return Driver(RoutedHttpLayer, context.options, routing.hooks, refusals), routing


def test_the_credential_is_on_the_wire_and_nowhere_else(context, flows):
    driver, routing = routed_driver(context, flows)
    play(driver, EXCHANGES["POST"])
    assert driver.sent("server") == (
        b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: provider.invalid:8000\r\n"
        b"content-type: application/json\r\ncontent-length: 5\r\n"
        b"authorization: Bearer %s\r\n\r\nhello" % TOKEN.encode()
    )
    assert driver.sent("client") == OK
    assert driver.hooked() == ["requestheaders", "request", "responseheaders", "response"]
    assert TOKEN.encode() not in routing.seen
    assert TOKEN not in repr([it for it in driver.did if it[:2] != ("send", "server")])
    (flow,) = driver.flows
    assert "authorization" not in flow.request.headers
    assert driver.servers[0].address == ("provider.invalid", 8000)


@pytest.mark.parametrize("name", sorted(stream.CLIENT_CREDENTIALS))
def test_what_another_addon_adds_does_not_go_along(context, flows, name):
    def after(flow: http.HTTPFlow) -> None:
        flow.request.headers[name] = "not-of-ours"

    driver, _ = routed_driver(context, flows, after=after)
    driver.client_sends(POST)
    assert b"not-of-ours" not in driver.sent("server")
    assert driver.sent("server").count(b"authorization: ") == 1
    assert driver.flows[0].request.headers[name] == "not-of-ours"


ELSEWHERE = {
    "host": lambda request: setattr(request, "host", "other.invalid"),
    "port": lambda request: setattr(request, "port", 8001),
    "scheme": lambda request: setattr(request, "scheme", "https"),
    "path": lambda request: setattr(request, "path", "/v1/messages"),
    "deeper path": lambda request: setattr(request, "path", "/v1/messages/../x?beta=true"),
    "url": lambda request: setattr(request, "url", "http://other.invalid/v1/messages?beta=true"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("request_bytes", [POST, CHUNKED])
def test_a_request_that_would_go_elsewhere_ends(context, flows, name, request_bytes):
    """No connection is opened, the client gets an error, and the addons hear of it once."""
    driver, routing = routed_driver(
        context, flows, after=lambda flow: ELSEWHERE[name](flow.request)
    )
    driver.client_sends(request_bytes)
    assert driver.servers == []
    assert driver.sent("client").startswith(b"HTTP/1.1 502 ")
    assert driver.hooked() == ["requestheaders", "request", "error"]
    (flow,) = driver.flows
    assert "elsewhere" in flow.error.msg
    assert not flow.live
    assert TOKEN.encode() not in routing.seen + driver.sent("client")


def test_a_request_that_is_changed_while_the_connection_is_made(context, flows):
    """A `server_connected` hook, say. The connection has no stain; the request does not go."""
    driver, _ = routed_driver(context, flows)
    driver.on_open = lambda: setattr(driver.flows[0].request, "path", "/v1/files")
    driver.client_sends(POST)
    assert driver.servers[0].address == ("provider.invalid", 8000)
    assert driver.sent("server") == b""
    assert driver.sent("client").startswith(b"HTTP/1.1 502 ")
    assert driver.hooked() == ["requestheaders", "request", "error"]


def test_an_upstream_proxy_does_not_see_it(context, flows):
    """A plain request would show it there."""

    def after(flow: http.HTTPFlow) -> None:
        flow.server_conn.via = ("http", ("proxy.invalid", 8080))

    driver, _ = routed_driver(context, flows, after=after)
    driver.client_sends(POST)
    assert driver.servers == []
    assert driver.sent("client").startswith(b"HTTP/1.1 502 ")


HERE = {"address": ("provider.invalid", 8000), "tls": False, "via": None}


@pytest.mark.parametrize(
    ("connection", "allowed"),
    [
        ({}, True),
        ({"address": ("other.invalid", 8000)}, False),
        ({"address": ("provider.invalid", 80)}, False),
        ({"address": None}, False),
        ({"tls": True}, False),
        ({"via": ("http", ("proxy.invalid", 1))}, False),
    ],
)
def test_the_connection_must_lead_there_too(connection, allowed):
    where = forward()
    request = http.Request.make("POST", "http://provider.invalid:8000/v1/messages?beta=true")
    found = stream._bound(
        Routed(where.request, where), request, SimpleNamespace(**HERE | connection)
    )
    assert found is allowed


def test_a_request_whose_credential_fails_ends(context, flows, caplog):
    def fail(_: Credential) -> None:
        raise ValueError(f"with {TOKEN} in it")

    broken = replace(known()["anthropic"], authorize=fail)
    driver, _ = routed_driver(context, flows, where=forward(provider=broken))
    driver.client_sends(POST)
    assert driver.sent("server") == b""
    assert driver.sent("client").startswith(b"HTTP/1.1 502 ")
    assert driver.hooked()[-1] == "error"
    assert "ValueError" in caplog.text
    assert TOKEN not in caplog.text
    assert not driver.flows[0].live


def test_an_answer_whose_handling_fails_ends_on_both_sides(context, flows, caplog):
    def responseheaders(flow: http.HTTPFlow) -> None:
        flow.response.stream = _failing

    driver, _ = routed_driver(context, flows, responseheaders=responseheaders)
    driver.client_sends(POST)
    driver.server_sends(PIECES)
    assert driver.hooked()[-1] == "error"
    assert ("close", "client") in driver.did
    assert ("close", "server") in driver.did
    assert b"0\r\n\r\n" not in driver.sent("client")
    assert "ZeroDivisionError" in caplog.text


def test_a_provider_that_recovers_is_tried_again_on_the_same_client_connection(context, flows):
    driver, _ = routed_driver(context, flows, refusals=["refused"])
    driver.client_sends(POST)
    assert driver.sent("client").startswith(b"HTTP/1.1 502 ")
    # mitmproxy closes an HTTP/1 connection after its own errors; HTTP/2 goes on. The layer itself:
    layer, failed = driver.layer, driver.servers[0]
    again = stream.GetHttpConnection(failed.address, failed.tls, failed.via)
    assert list(layer._failed(again)) == [failed]
    other = stream.GetHttpConnection(("other.invalid", 80), failed.tls, failed.via)
    assert list(layer._failed(other)) == []


def test_a_client_that_leaves_closes_the_provider(context, flows):
    driver, _ = routed_driver(context, flows)
    play(driver, [("c", POST), ("s", PIECES), ("c", None)])
    assert ("close", "server") in driver.did
    assert driver.hooked()[-1] == "error"


def test_a_routed_request_is_never_streamed(context, flows):
    """Whatever the option says; were it streamed, its body would go to the client's host."""
    context.options.update(stream_large_bodies="1")
    for sent in (MESSAGES, CHUNKED.replace(b"/a ", b"/v1/messages ")):
        driver, _ = routed_driver(context, flows)
        driver.client_sends(sent)
        assert TOKEN.encode() in driver.sent("server")


def test_an_addon_that_streams_it_ends_it(context, flows):
    def stream_it(flow: http.HTTPFlow) -> None:
        flow.request.stream = True

    driver = Driver(RoutedHttpLayer, context.options, {"requestheaders": stream_it})
    driver.client_sends(MESSAGES)
    assert driver.servers == []
    assert driver.sent("client").startswith(b"HTTP/1.1 502 ")
    assert driver.hooked() == ["requestheaders", "error"]


def test_a_refusal_before_the_body_with_streaming_set(context, flows):
    """mitmproxy itself cannot have both a response and a streamed request."""
    context.options.update(stream_large_bodies="1")

    def refuse(flow: http.HTTPFlow) -> None:
        flow.request.stream = False
        flow.response = http.Response.make(403, b"no")

    driver = Driver(RoutedHttpLayer, context.options, {"requestheaders": refuse})
    driver.client_sends(CHUNKED)
    assert driver.sent("client").startswith(b"HTTP/1.1 403 ")
    assert driver.servers == []


# How it gets in


def _context(options) -> Context:
    client = Client(
        peername=("127.0.0.1", 1),
        sockname=("127.0.0.1", 2),
        timestamp_start=0.0,
        proxy_mode=ProxyMode.parse("regular"),
    )
    around = Context(client, options)
    HttpProxy(around)  # the outermost of all
    return around


def test_our_layer_takes_the_place_of_mitmproxys(context):
    around = _context(context.options)
    nextlayer = NextLayer(around)
    nextlayer.layer = HttpLayer(around, HTTPMode.transparent)
    before = len(around.layers)
    StreamLayers().next_layer(nextlayer)
    assert type(nextlayer.layer) is RoutedHttpLayer
    assert nextlayer.layer.mode is HTTPMode.transparent
    assert len(around.layers) == before
    assert around.layers[-1] is nextlayer.layer


def test_a_nested_layer_is_found(context):
    around = _context(context.options)
    nextlayer = NextLayer(around)
    nextlayer.layer = ClientTLSLayer(around)
    nextlayer.layer.child_layer = HttpLayer(around, HTTPMode.transparent)
    StreamLayers().next_layer(nextlayer)
    assert type(nextlayer.layer) is ClientTLSLayer
    assert type(nextlayer.layer.child_layer) is RoutedHttpLayer


def test_other_layers_are_left_alone(context):
    around = _context(context.options)
    nextlayer = NextLayer(around)
    StreamLayers().next_layer(nextlayer)
    assert nextlayer.layer is None
    nextlayer.layer = tls = ClientTLSLayer(around)
    StreamLayers().next_layer(nextlayer)
    assert nextlayer.layer is tls
    nextlayer.layer = ours = substitute(HttpLayer(around, HTTPMode.regular))
    StreamLayers().next_layer(nextlayer)
    assert nextlayer.layer is ours


def test_replays_use_our_layer_while_we_are_loaded():
    before = stream.clientplayback.ReplayHandler
    layers = StreamLayers()
    layers.load(None)
    assert stream.clientplayback.ReplayHandler is stream.RoutedReplay
    layers.done()
    assert stream.clientplayback.ReplayHandler is before


def _stream_response(flow: http.HTTPFlow) -> None:
    flow.response.stream = True


def _failing(_: bytes) -> bytes:
    raise ZeroDivisionError(f"with {TOKEN} in it")


def _told(flow: http.HTTPFlow) -> str:
    """What a flow came to, without what differs from one to the next."""
    state = flow.get_state()
    found = {
        "request": (flow.request.method, flow.request.url, flow.request.raw_content),
        "response": flow.response and (flow.response.status_code, flow.response.raw_content),
        "error": flow.error and flow.error.msg,
        "live": flow.live,
        "type": state["type"],
    }
    return json.dumps(found, default=repr)
