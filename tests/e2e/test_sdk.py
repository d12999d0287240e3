"""The real `anthropic` SDK: over HTTP/1.1 and HTTP/2, streaming and not, and its exceptions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anthropic
import pytest
from mitm import (
    CLIENT_MARK,
    READY,
    VIRTUAL,
    Proxy,
    Routing,
    assert_as_provider_wants,
    field,
    question,
    trusting,
)

from core.simulator import Simulator

pytestmark = pytest.mark.filterwarnings(
    # The SDK knows when a model will go; which one we name does not matter here.
    "ignore:The model:DeprecationWarning"
)

VERSIONS = {"HTTP/1.1": False, "HTTP/2": True}


def sdk(
    routing: Routing,
    *,
    http2: bool = False,
    seen: list[str] | None = None,
) -> anthropic.Anthropic:
    """A client. The HTTP version of each answer that it gets is added to `seen`."""
    versions = [] if seen is None else seen
    http_client = anthropic.DefaultHttpxClient(
        proxy=routing.proxy.url,
        verify=trusting(routing.proxy.ca, http2=http2),
        http2=http2,
        trust_env=False,
        event_hooks={"response": [lambda answer: versions.append(answer.http_version)]},
    )
    return anthropic.Anthropic(
        api_key=f"key-{CLIENT_MARK}",
        base_url=VIRTUAL,
        max_retries=0,
        http_client=http_client,
    )


@pytest.fixture(scope="module")
def behind_tls(tmp_path_factory, confdir) -> Iterator[Routing]:
    """The simulated Anthropic behind TLS and HTTP/2, by a mitmproxy of its own in front of it."""
    folder = tmp_path_factory.mktemp("behind-tls")
    with Simulator("under-pace") as sim:
        front = Proxy(
            folder / "front",
            folder / "front-ca",
            options=["--mode", f"reverse:{sim.anthropic_url}"],
        )
        with front:
            config = sim.config()
            config["providers"]["anthropic"]["base_url"] = f"https://127.0.0.1:{front.port}"
            trust = ["--set", f"ssl_verify_upstream_trusted_ca={front.ca}"]
            with Routing(folder, confdir, sim, config=config, options=trust) as routing:
                routing.front = front
                yield routing


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", ["over-pace", "under-pace"])
def test_the_sdk_is_served(shared, scenario, version, stream):
    routing = shared(scenario)
    versions: list[str] = []
    with sdk(routing, http2=VERSIONS[version], seen=versions) as client:
        text = _said(client, stream=stream)
    recorded = routing.served_one()
    assert text.startswith(f"Served by {recorded.provider} as claude-sonnet-4")
    assert versions == [version]
    assert recorded.path == "/v1/messages"
    assert_as_provider_wants(recorded, routing.sim)


@pytest.mark.parametrize("scenario", ["over-pace", "under-pace"])
def test_the_sdk_is_served_as_it_comes(shared, scenario):
    """With the API version that it names by itself."""
    routing = shared(scenario)
    with sdk(routing) as client:
        _said(client, stream=True)
    assert_as_provider_wants(routing.served_one(), routing.sim)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_upstream_may_be_tls_and_http2(behind_tls, version, stream):
    routing = behind_tls
    routing.forget()
    versions: list[str] = []
    with sdk(routing, http2=VERSIONS[version], seen=versions) as client:
        text = _said(client, stream=stream)
    recorded = routing.served_one()
    assert text == "Served by anthropic as claude-sonnet-4-5. "
    assert versions == [version]
    assert_as_provider_wants(recorded, routing.sim)
    # mitmdump names the version of what it forwards where it is not HTTP/1.1.
    lines = [it for it in routing.front.log.splitlines() if "POST" in it]
    assert ("HTTP/2.0" in lines[-1]) == VERSIONS[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_many_at_once_on_one_connection(under_pace, version):
    """HTTP/2 multiplexes them, and each gets its own answer."""
    with sdk(under_pace, http2=VERSIONS[version]) as client, ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda _: _said(client, stream=True), range(8)))
    assert set(texts) == {"Served by anthropic as claude-sonnet-4-5. "}
    assert len(under_pace.served()) == 8


def test_a_tool_loop(over_pace):
    tool = {
        "name": "read",
        "description": "Reads a file.",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
    }
    asked = question('[call read {"path": "a.txt"}]', tools=[tool])
    with sdk(over_pace) as client:
        called = client.messages.create(**asked)
        use = called.content[-1]
        asked["messages"] += [
            {"role": "assistant", "content": [use.to_dict()]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "it says A"}],
            },
        ]
        told = client.messages.create(**asked)
    assert called.stop_reason == "tool_use"
    assert use.input == {"path": "a.txt"}
    assert told.content[0].text == "Tool said: it says A"
    assert [field(it, "x-initiator") for it in over_pace.served()] == ["user", "agent"]


# Our own errors, as the SDK reads them


def test_an_unknown_model_is_not_found(under_pace):
    with sdk(under_pace) as client, pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**question(model="claude-sonnet-4"))
    assert "claude-sonnet-4-5" in _message(caught)
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert under_pace.served() == []


def test_an_unknown_path_is_not_found(under_pace):
    with sdk(under_pace) as client, pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.count_tokens(model="claude-sonnet-4-5", messages=[])
    assert "/v1/messages" in _message(caught)
    assert under_pace.served() == []


def test_nobody_can_serve(shared):
    routing = shared("nobody")
    with sdk(routing) as client, pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**question())
    assert caught.value.body["error"]["type"] == "rate_limit_error"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert routing.served() == []


def test_no_credential_at_all(start):
    """503 names where credentials were looked for, and the SDK does not try again."""
    routing = start(signed_in=False, ready=READY)
    client = sdk(routing).with_options(max_retries=3)
    with client, pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**question())
    assert caught.value.status_code == 503
    for source in ("ANTHROPIC_API_KEY", "GITHUB_COPILOT_TOKEN", "auth.json"):
        assert source in _message(caught)
    assert routing.proxy.log.count("limit-router: 503") == 1


def test_a_provider_error_reaches_the_client_as_it_is(under_pace):
    with sdk(under_pace) as client, pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**question(), extra_body={"nonsense": 1})
    assert "nonsense: Extra inputs are not permitted" in _message(caught)


def _said(client: anthropic.Anthropic, *, stream: bool) -> str:
    if not stream:
        return client.messages.create(**question()).content[0].text
    with client.messages.stream(**question()) as events:
        return events.get_final_text()


def _message(caught: pytest.ExceptionInfo[anthropic.APIStatusError]) -> str:
    return caught.value.body["error"]["message"]
