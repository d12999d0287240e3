"""Other addons may stand beside ours. None of them gets the credential to another host."""

import pytest
from mitm import Listener, ask, assert_no_token, question

from core.simulator import Simulator

ROUTED = "127.0.0.1"
CHANGES = {
    "port": "flow.request.port = {port}",
    "host and port": "flow.request.host, flow.request.port = 'localhost', {port}",
    "url": "flow.request.url = 'http://127.0.0.1:{port}/v1/messages'",
    "path": "flow.request.path = '/v1/complete'",
    "query": "flow.request.path += '?a=1'",
    "scheme": "flow.request.scheme = 'https'",
    "upstream proxy": "flow.server_conn.via = ('http', ('127.0.0.1', {port}))",
}
SCRIPT = """
def {hook}(flow):
    if "messages" in flow.request.path:
        {change}
"""


@pytest.mark.parametrize("name", CHANGES)
def test_a_script_that_redirects_after_us(start, tmp_path, name):
    with Listener() as other:
        change = CHANGES[name].format(port=other.port)
        script = tmp_path / "after.py"
        script.write_text(SCRIPT.format(hook="request", change=change))
        routing = start("under-pace", after=[script])
        with routing.client() as client:
            answer = ask(client)
    assert answer.status_code == 502
    assert_no_token(b"".join(other.received), routing.sim)
    assert routing.served() == []


def test_map_remote(start):
    with Simulator("under-pace") as sim, Listener() as other:
        mapped = f"map_remote=|{sim.anthropic_url}|http://127.0.0.1:{other.port}"
        routing = start(sim=sim, options=["--set", mapped])
        with routing.client() as client:
            answer = ask(client)
        assert_no_token(b"".join(other.received), sim)
        # Whichever of us comes first: routed as decided, or not at all.
        assert answer.status_code == (200 if routing.served() else 502)


def test_a_script_before_us_may_change_what_is_asked_for(start, tmp_path):
    script = tmp_path / "before.py"
    change = "flow.request.content = flow.request.content.replace(b'opus', b'sonnet')"
    script.write_text(SCRIPT.format(hook="request", change=change))
    routing = start("under-pace", before=[script])
    with routing.client() as client:
        answer = ask(client, json=question(model="claude-opus-4-5"))
    assert answer.headers["x-limit-router-model"] == "claude-sonnet-4-5"
    assert b"claude-sonnet-4-5" in routing.served_one().body


def test_a_script_that_answers_by_itself(start, tmp_path):
    script = tmp_path / "before.py"
    change = "flow.response = __import__('mitmproxy.http').http.Response.make(418, b'tea')"
    script.write_text(SCRIPT.format(hook="request", change=change))
    routing = start("under-pace", before=[script])
    with routing.client() as client:
        answer = ask(client)
    assert answer.status_code == 418
    assert routing.served() == []


def test_a_script_that_streams_requests_after_us(start, tmp_path):
    """The body would go to the client's host, unread: refused, and nothing hangs."""
    script = tmp_path / "after.py"
    script.write_text(SCRIPT.format(hook="requestheaders", change="flow.request.stream = True"))
    routing = start("under-pace", after=[script])
    with routing.client() as client:
        answer = ask(client)
    assert answer.status_code == 502
    assert routing.served() == []


def test_a_header_that_a_script_adds_never_beats_the_credential(start, tmp_path):
    script = tmp_path / "after.py"
    change = "flow.request.headers['x-api-key'] = flow.request.headers['authorization'] = 'mine'"
    script.write_text(SCRIPT.format(hook="request", change=change))
    routing = start("under-pace", after=[script])
    with routing.client() as client:
        answer = ask(client)
    assert answer.status_code == 200
    assert len(routing.served()) == 1
