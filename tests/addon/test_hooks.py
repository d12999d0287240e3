"""The hooks: options, refusals, and what becomes of a request when something fails."""

import asyncio
import json

import pytest
import yaml
from mitmproxy import exceptions, http
from mitmproxy.test import taddons, tflow

from addon import hooks
from addon.hooks import OPTION, LimitRouter
from core import HttpRequest

CONFIG = {
    "models": {"claude-sonnet-4-5": {"providers": ["anthropic", "github-copilot"]}},
    "providers": {"anthropic": {"oauth": True}},
}
TOKENS = {"ANTHROPIC_API_KEY": "sk-ant-api03-HIDDEN", "GITHUB_COPILOT_TOKEN": "gho_HIDDEN"}
BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "hi"}],
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration whose sign-ins are in the environment. Writes another one when called."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, token in TOKENS.items():
        monkeypatch.setenv(name, token)

    def write(**changes) -> str:
        path = tmp_path / "mitm.yaml"
        path.write_text(yaml.safe_dump(CONFIG | {"state": str(tmp_path / "state")} | changes))
        return str(path)

    return write


@pytest.fixture
def router(context, flows, config) -> LimitRouter:
    """Configured; its polling has not begun."""
    return added(context, config())


def added(context: taddons.context, config: str) -> LimitRouter:
    made = LimitRouter()
    context.master.addons.add(made)
    context.configure(made, **{OPTION: config})
    return made


def routed_flow(url="https://limit-router.invalid/v1/messages", body=None, peer="127.0.0.1"):
    content = json.dumps(BODY).encode() if body is None else body
    headers = {"x-api-key": "own", "anthropic-version": "2023-06-01"}
    flow = tflow.tflow(req=http.Request.make("POST", url, content, headers))
    flow.client_conn.peername = (peer, 50_000)
    flow.live = True
    return flow


def through(router: LimitRouter, flow: http.HTTPFlow) -> http.HTTPFlow:
    asyncio.run(router.requestheaders(flow))
    if flow.response is None:
        router.request(flow)
    return flow


# Options


def test_the_options_that_it_needs(context, router):
    assert context.options.connection_strategy == "lazy"
    assert context.options.store_streamed_bodies is True
    assert "^limit\\-router\\.invalid:443$" in context.options.allow_hosts
    assert "^api\\.anthropic\\.com:443$" in context.options.allow_hosts
    assert not any("api\\.github\\.com" in it for it in context.options.allow_hosts)
    assert all(it.startswith("^") and it.endswith("$") for it in context.options.allow_hosts)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("allow_hosts", ["^mine$"]),
        ("ignore_hosts", ["^mine$"]),
    ],
)
def test_the_users_own_settings_win_at_start(context, flows, config, option, value):
    context.options.update(**{option: value})
    added(context, config())
    assert getattr(context.options, option) == value
    if option == "ignore_hosts":
        assert context.options.allow_hosts == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("connection_strategy", "eager"),
        ("store_streamed_bodies", False),
        ("allow_hosts", ["^mine$"]),
    ],
)
def test_the_users_own_settings_win_later(context, router, config, option, value):
    """Set while it works, to the default even: it stays, whatever is configured after that."""
    context.options.update(**{option: value})
    context.options.update(proxy_debug=False)
    context.configure(router, **{OPTION: config(allow_clients=["10.0.0.0/8"])})
    asyncio.run(router.http_connect(routed_flow()))
    assert getattr(context.options, option) == value


def test_our_own_scope_follows_the_configuration(context, router, config):
    base = {"anthropic": {"oauth": True, "base_url": "https://mirror.invalid:8443/anthropic"}}
    context.configure(router, **{OPTION: config(providers=base)})
    assert "^mirror\\.invalid:8443$" in context.options.allow_hosts


def test_a_broken_configuration_at_start(context, flows, config, caplog):
    """An error in the log ends mitmproxy's start; until then nothing is routed."""
    router = added(context, config(modles={}))
    assert [it.levelname for it in caplog.records if "modles" in it.message] == ["ERROR"]
    assert through(router, routed_flow()).response.status_code == 503


def test_a_broken_configuration_later_changes_nothing(context, flows, router, config):
    before = flows.engine
    with pytest.raises(exceptions.OptionsError, match="modles"):
        context.configure(router, **{OPTION: config(modles={}) + "/../mitm.yaml"})
    assert flows.engine is before


# Requests


def test_a_routed_flow(router, flows):
    flow = through(router, routed_flow())
    assert flow.response is None
    # A subscription comes before an API key.
    assert flow.request.pretty_url == "https://api.githubcopilot.com/v1/messages"
    assert flow.comment.startswith("github-copilot claude-sonnet-4.5: ")
    assert flow.marked
    assert flow.metadata["limit_router.provider"] == "github-copilot"
    assert all(isinstance(it, str | int) for it in flow.metadata.values())
    assert flow.metadata["limit_router.attempts"] == 1
    assert flows.get(flow.id).original.host == "limit-router.invalid"
    told = repr(flow.get_state()) + repr(flows.get(flow.id))
    assert "HIDDEN" not in told
    assert "x-api-key" not in flow.request.headers


@pytest.mark.parametrize(
    "url", ["https://example.invalid/v1/messages", "https://example.invalid/other"]
)
def test_a_flow_that_is_not_ours(router, flows, url):
    flow = routed_flow(url)
    before = flow.request.copy()
    through(router, flow)
    assert flow.request.get_state() == before.get_state()
    assert (flow.response, flow.marked, flow.comment, flow.metadata) == (None, "", "", {})
    assert flows.get(flow.id) is None


@pytest.mark.parametrize("state", ["response", "error", "dead"])
def test_a_flow_that_is_over_already(router, flows, state):
    flow = routed_flow()
    if state == "response":
        flow.response = http.Response.make(418)
    elif state == "error":
        flow.error = tflow.terr()
    else:
        flow.live = False
    router.request(flow)
    assert flow.request.host == "limit-router.invalid"
    assert flows.get(flow.id) is None


def test_an_error_of_ours_lets_nothing_out(router, flows, caplog, monkeypatch):
    class Broken:
        def __getattr__(self, _: str) -> None:
            raise ZeroDivisionError(TOKENS["ANTHROPIC_API_KEY"])

    monkeypatch.setattr(flows, "engine", Broken())
    flow = routed_flow()
    router.request(flow)
    assert flow.response.status_code == 500
    assert flow.response.json()["type"] == "error"
    assert "ZeroDivisionError" in caplog.text
    assert "HIDDEN" not in caplog.text


def test_an_error_in_an_answers_headers_kills_the_flow(router, flows, monkeypatch):
    flow = through(router, routed_flow())
    flow.response = http.Response.make(200, b"{}")
    flow.response.status_code = None  # what comes of it is our bug
    monkeypatch.setattr(hooks.translate, "headers_of", None)
    router.responseheaders(flow)
    assert flow.error.msg == flow.error.KILLED_MESSAGE


def test_an_error_in_the_tap_lets_the_bytes_flow_on(router, flows, caplog, monkeypatch):
    flow = through(router, routed_flow())
    flow.response = http.Response.make(200, b"", {"content-type": "text/event-stream"})
    router.responseheaders(flow)
    tap = flows.get(flow.id).tap
    monkeypatch.setattr(type(tap), "feed", None)
    passed = [flow.response.stream(chunk) for chunk in (b"data: a\n", b"data: b\n", b"")]
    assert passed == [b"data: a\n", b"data: b\n", b""]
    assert caplog.text.count("an answer's body") == 1


def test_proxy_debug_is_looked_at_when_it_changes(context, router):
    context.options.update(proxy_debug=True)
    assert through(router, routed_flow()).response.status_code == 503
    context.options.update(proxy_debug=False)
    assert through(router, routed_flow()).response is None


def test_a_replay_starts_from_what_the_client_sent(router, flows):
    flow = through(router, routed_flow())
    flow.live = False
    router.response(flow)
    flow.is_replay, flow.live = "request", True
    flow.request.path = "/edited"
    router.request(flow)
    assert flow.response is None
    assert flow.request.path == "/v1/messages"
    assert flows.get(flow.id).original.body == json.dumps(BODY).encode()


def test_a_replay_of_what_is_forgotten_is_refused(router, flows):
    flow = through(router, routed_flow())
    flows.__init__()  # as after a restart
    flow.is_replay = "request"
    router.request(flow)
    assert flow.response.status_code == 410


def test_a_replay_of_a_copy_finds_the_original(router, flows):
    """mitmweb's "duplicate" gives it another id."""
    flow = through(router, routed_flow())
    router.response(flow)
    copy = flow.copy()
    copy.is_replay, copy.live, copy.response = "request", True, None
    router.request(copy)
    assert copy.response is None
    assert isinstance(flows.get(copy.id).original, HttpRequest)


# Clients elsewhere


@pytest.mark.parametrize("peer", ["192.0.2.7", "fe80::7", "169.254.7.7", "::ffff:192.0.2.7"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"])
def test_they_do_not_reach_this_machine(router, peer, host):
    plain = routed_flow(f"http://{host}/anything", peer=peer)
    asyncio.run(router.requestheaders(plain))
    assert plain.response.status_code == 403
    tunnel = routed_flow(f"http://{host}/anything", peer=peer)
    tunnel.request.method = "CONNECT"
    asyncio.run(router.http_connect(tunnel))
    assert tunnel.response.status_code == 403


@pytest.mark.parametrize("peer", ["192.0.2.7", "fe80::7", "::ffff:192.0.2.7"])
def test_they_are_not_routed(router, flows, peer):
    flow = through(router, routed_flow(peer=peer))
    assert flow.response.status_code == 403
    assert flow.response.json()["error"]["type"] == "permission_error"
    assert flows.get(flow.id) is None


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_clients_on_this_machine_may(router, peer):
    assert through(router, routed_flow(peer=peer)).response is None
    plain = routed_flow("http://127.0.0.1/anything", peer=peer)
    asyncio.run(router.requestheaders(plain))
    assert plain.response is None


def test_those_who_are_let_in_are_routed_and_no_more(context, router, config):
    allowed = config(allow_clients=["192.0.2.0/24"])
    context.options.update(**{OPTION: ""})
    context.configure(router, **{OPTION: allowed})
    assert through(router, routed_flow(peer="192.0.2.7")).response is None
    assert through(router, routed_flow(peer="127.0.0.1")).response.status_code == 403
    plain = routed_flow("http://127.0.0.1/v1/messages", peer="192.0.2.7")
    assert through(router, plain).response.status_code == 403


def test_a_client_without_an_address(router):
    flow = routed_flow()
    flow.client_conn.peername = None
    assert through(router, flow).response.status_code == 403


# Its life


def test_it_leaves_nothing_behind(context, router):
    assert isinstance(context, taddons.context)
    assert context.master.addons.get("limit_router_streams") is not None
    context.master.addons.remove(router)
    assert context.master.addons.get("limit_router_streams") is None
    context.master.addons.add(LimitRouter())


def connecting(peer, host: str, port: int):
    from mitmproxy.connection import Client, Server  # noqa: PLC0415
    from mitmproxy.proxy.server_hooks import ServerConnectionHookData  # noqa: PLC0415

    client = Client(peername=peer, sockname=("127.0.0.1", 8080), timestamp_start=0.0)
    return ServerConnectionHookData(server=Server(address=(host, port)), client=client)


@pytest.mark.parametrize(
    ("peer", "host", "refused"),
    [
        (("192.0.2.9", 5), "127.0.0.1", True),
        (("192.0.2.9", 5), "localhost", True),
        (None, "::1", True),
        (("127.0.0.1", 5), "127.0.0.1", False),
        (("192.0.2.9", 5), "192.0.2.77", False),
    ],
)
def test_no_other_way_leads_to_this_machine_either(router, peer, host, refused):
    data = connecting(peer, host, 6379)
    asyncio.run(router.server_connect(data))
    assert (data.server.error is not None) is refused


def test_where_requests_are_routed_to_may_be_on_this_machine(context, router, config):
    local = {"anthropic": {"base_url": "http://127.0.0.1:6379"}}
    context.configure(router, **{OPTION: config(providers=local)})
    data = connecting(("192.0.2.9", 5), "127.0.0.1", 6379)
    asyncio.run(router.server_connect(data))
    assert data.server.error is None


def test_a_look_up_that_fails_lets_nobody_through(router, monkeypatch, caplog):
    async def broken(host):
        raise LookupError(f"{host} is not to be shown")

    monkeypatch.setattr(hooks, "is_this_machine", broken)
    flow = routed_flow("http://192.0.2.77/x", peer="192.0.2.9")
    assert through(router, flow).response.status_code == 403
    data = connecting(("192.0.2.9", 5), "192.0.2.77", 6379)
    asyncio.run(router.server_connect(data))
    assert data.server.error is not None
    said = "limit-router: LookupError while handling a client from elsewhere"
    assert caplog.text.count(said) == 2
    assert "192.0.2.77" not in caplog.text


def test_what_has_ended_is_forgotten_when_there_is_no_more_room(router, flows, monkeypatch):
    monkeypatch.setattr("addon.flows.KEPT_FLOWS", 1)
    ended = [through(router, routed_flow()) for _ in range(3)]
    for flow, hook in zip(ended, (router.response, router.error, router.response), strict=True):
        assert flows.get(flow.id) is not None
        hook(flow)
    assert [flows.get(flow.id) is not None for flow in ended] == [False, False, True]


def test_trailers_are_not_sent_on(router):
    flow = routed_flow()
    flow.request.trailers = http.Headers(authorization="Bearer own")
    assert through(router, flow).request.trailers is None


def test_conversations_outlive_another_configuration(context, router, flows, config):
    before = flows.engine
    context.configure(router, **{OPTION: config(allow_clients=["127.0.0.0/8"])})
    assert flows.engine is not before
    assert flows.engine.conversations is before.conversations


def test_a_bug_in_the_background_is_told_in_full_and_does_not_end_it(
    router, flows, caplog, monkeypatch
):
    monkeypatch.setattr(hooks, "RESTART_S", 0.0)

    async def main() -> None:
        thrice, runs = asyncio.Event(), []

        async def run(_ready):
            runs.append(f"{len(runs)} is not to be shown")
            if len(runs) == 3:
                thrice.set()
                await asyncio.Event().wait()
            raise ExceptionGroup("", [LookupError(runs[-1])])

        flows.engine.run = run
        router._start_polling(flows.engine)
        async with asyncio.timeout(5):
            await thrice.wait()
        await asyncio.gather(router.done(), return_exceptions=True)

    asyncio.run(main())
    said = "limit-router: LookupError while handling the background task"
    assert caplog.text.count(said) == 2
    assert "1 is not" not in caplog.text


def test_what_was_taken_out_does_not_begin_again(router, flows, monkeypatch):
    monkeypatch.setattr(hooks, "RESTART_S", 0.0)

    async def main() -> int:
        runs = []

        async def run(_ready):
            runs.append(1)
            raise LookupError

        flows.engine.run = run
        router._start_polling(flows.engine)
        ended = router._task
        await asyncio.wait([ended])
        await asyncio.gather(router.done(), return_exceptions=True)
        router._restart(ended)
        for _ in range(5):
            await asyncio.sleep(0)
        return len(runs)

    assert asyncio.run(main()) == 1
