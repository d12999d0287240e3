"""What is not ours passes through: TLS unread, plain HTTP as it was."""

import socket
import ssl

import pytest
from mitm import CLIENT_HEADERS, DEADLINE_S, VIRTUAL, Listener, ask, question, trusting
from mitmproxy.certs import CertStore


@pytest.fixture
def foreign_tls(tmp_path) -> ssl.SSLContext:
    """A server's certificate that has nothing to do with the proxy's."""
    CertStore.from_store(tmp_path / "foreign", "foreign", 2048)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "foreign" / "foreign-ca.pem")
    return context


def test_other_hosts_tls_is_not_opened(under_pace, foreign_tls, tmp_path):
    """Not even for a routed model: nobody can read it there."""
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    own = ssl.PEM_cert_to_DER_cert((tmp_path / "foreign" / "foreign-ca-cert.pem").read_text())
    with (
        Listener(tls=foreign_tls) as other,
        under_pace.client(verify=blind) as client,
        client.stream(
            "POST",
            f"https://127.0.0.1:{other.port}/v1/messages",
            json=question(model="limit-router/claude-sonnet-4-5"),
            headers=CLIENT_HEADERS,
        ) as answer,
    ):
        shown = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(True)
        assert answer.read() == b"{}"
    assert shown == own
    assert b"limit-router/claude-sonnet-4-5" in other.received[0]
    assert CLIENT_HEADERS["authorization"].encode() in other.received[0]
    assert under_pace.served() == []


def test_the_virtual_host_on_another_port_is_not_opened(under_pace):
    """It has no other, and nothing there could be reached."""
    with under_pace.client() as client, pytest.raises(Exception, match=r"EOF|disconnected"):
        client.get(f"{VIRTUAL}:8443/v1/models")


@pytest.mark.parametrize(
    "target",
    [b"/v1/messages?beta=true", b"/anything%20odd?key=a&key=b", b"/v1/messages"],
)
def test_plain_http_that_is_not_ours_is_not_touched(under_pace, target):
    body = (
        b'{"model" : "claude-sonnet-4-5", "say": "limit-router/ is not the model", "\\u0041": 1 }'
    )
    fields = (
        b"Host: 127.0.0.1:%d\r\nAuthorization: Bearer of-the-client\r\nX-Odd: \xc3\xa9\xff\r\n"
        b"cookie: a=1\r\nx-api-key: its-own\r\nx-limit-router-Own: 1\r\n"
        b"Content-Type: application/json\r\nCookie: b=2\r\nContent-Length: %d\r\n\r\n"
    )
    with Listener() as other:
        head = fields % (other.port, len(body))
        with socket.create_connection(("127.0.0.1", under_pace.proxy.port), DEADLINE_S) as client:
            whole = b"http://127.0.0.1:%d%s" % (other.port, target)
            client.sendall(b"POST %s HTTP/1.1\r\n" % whole + head + body)
            answer = client.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert other.received == [b"POST %s HTTP/1.1\r\n" % target + head + body]
    assert under_pace.served() == []


def test_a_routed_model_in_plain_http_to_another_host(under_pace):
    with Listener() as other, under_pace.client() as client:
        answer = ask(
            client,
            f"http://127.0.0.1:{other.port}/v1/messages",
            json=question(model="limit-router/claude-sonnet-4-5"),
        )
    assert answer.headers["x-limit-router-provider"] == "anthropic"
    assert other.received == []
    assert len(under_pace.served()) == 1


def test_the_users_own_scope_wins(start, tmp_path):
    """A pattern of the user's that leaves the virtual host out: it is not opened."""
    routing = start("under-pace", options=["--set", "allow_hosts=^example$"])
    with routing.client() as client, pytest.raises(Exception, match=r"EOF|disconnected"):
        client.get(f"{VIRTUAL}/v1/models")


def test_certificates_are_the_proxys_own(under_pace):
    """And no other authority is trusted for the virtual host."""
    strict = ssl.create_default_context()
    with under_pace.client(verify=strict) as client, pytest.raises(Exception, match="CERTIFICATE"):
        client.get(f"{VIRTUAL}/v1/models")
    with under_pace.client(verify=trusting(under_pace.proxy.ca)) as client:
        assert client.get(f"{VIRTUAL}/v1/models").status_code == 200
