"""Clients on other machines: not routed unless they are let in, and never to this machine itself."""

import socket

import httpx
import pytest
from mitm import VIRTUAL, Listener, Routing, ask, assert_as_provider_wants, question

from core.simulator import Simulator

LOCAL_NAMES = ["127.0.0.1", "localhost", "127.1", "0.0.0.0", "any.localhost"]
EVERY_INTERFACE = {"host": "0.0.0.0", "options": ["--set", "block_global=false"]}


def own_address() -> str:
    """The address that this machine has in its network: from there it is another machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError as error:
            pytest.skip(f"no network but loopback: {error}")
        address: str = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("no network but loopback")
    return address


@pytest.fixture(scope="module")
def outside(tmp_path_factory, confdir):
    """A routing that lets nobody in but this machine, listening on every interface."""
    folder = tmp_path_factory.mktemp("outside")
    with (
        Simulator("under-pace") as sim,
        Routing(folder, confdir, sim, **EVERY_INTERFACE) as routing,
    ):
        yield routing


@pytest.fixture(scope="module")
def let_in(tmp_path_factory, confdir):
    """One that lets this machine's network address in."""
    folder = tmp_path_factory.mktemp("let-in")
    with Simulator("under-pace") as sim:
        config = sim.config() | {"allow_clients": [own_address()]}
        with Routing(folder, confdir, sim, config=config, **EVERY_INTERFACE) as routing:
            yield routing


def from_elsewhere(routing: Routing, **more) -> httpx.Client:
    return routing.client(proxy=f"http://{own_address()}:{routing.proxy.port}", **more)


def test_it_is_not_routed(outside):
    outside.forget()
    with from_elsewhere(outside) as client:
        answer = ask(client)
        listed = client.get(f"{VIRTUAL}/v1/models")
    assert answer.status_code == 403
    assert listed.status_code == 403
    assert answer.json()["error"]["type"] == "permission_error"
    assert "allow_clients" in answer.json()["error"]["message"]
    assert outside.served() == []
    assert "--listen-host 127.0.0.1" in outside.proxy.log


def test_a_local_client_of_the_same_proxy_is_routed(outside):
    outside.forget()
    with outside.client() as client:
        assert ask(client).status_code == 200


def test_it_is_routed_where_it_is_let_in(let_in):
    """Though the simulated provider is on this machine: the rule is for what clients name."""
    let_in.forget()
    with from_elsewhere(let_in) as client:
        answer = ask(client)
    assert answer.status_code == 200
    assert_as_provider_wants(let_in.served_one(), let_in.sim)


def test_nobody_else_is_let_in(let_in):
    with let_in.client() as client:
        assert ask(client).status_code == 403


@pytest.mark.parametrize("let", ["outside", "let_in"])
@pytest.mark.parametrize("name", LOCAL_NAMES)
def test_no_plain_request_to_this_machine(request, let, name):
    routing = request.getfixturevalue(let)
    with Listener() as other, from_elsewhere(routing) as client:
        url = f"http://{name}:{other.port}/v1/messages"
        answers = [client.get(url), client.post(url, json=question())]
        answers.append(client.post(url, json=question(model="limit-router/claude-sonnet-4-5")))
    assert [it.status_code for it in answers] == [403, 403, 403]
    assert other.received == []


@pytest.mark.parametrize("name", LOCAL_NAMES)
def test_no_tunnel_to_this_machine(let_in, name):
    with (
        Listener() as other,
        from_elsewhere(let_in) as client,
        pytest.raises(httpx.ProxyError, match="403"),
    ):
        client.get(f"https://{name}:{other.port}/")
    assert other.received == []


def test_a_local_client_may_reach_this_machine(outside):
    with Listener() as other, outside.client() as client:
        answer = client.get(f"http://127.0.0.1:{other.port}/")
    assert answer.content == b"{}"
