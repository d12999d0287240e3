"""Connections to providers: kept while they are good, forgotten once they have failed."""

import pytest
from mitm import Listener, ask, trusting

from core.simulator import Simulator

ANSWER = b'{"type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":1}}'


@pytest.mark.parametrize("http2", [False, True])
def test_a_provider_that_recovers_is_tried_again(start, http2):
    """On the same client connection: mitmproxy would keep the failed one for its whole life."""
    with Simulator("under-pace") as sim:
        provider = Listener(body=ANSWER)
        config = sim.config()
        config["providers"]["anthropic"]["base_url"] = f"http://127.0.0.1:{provider.port}"
        routing = start(sim=sim, config=config)
        tls = trusting(routing.proxy.ca, http2=http2)
        with routing.client(http2=http2, verify=tls) as client:
            refused = [ask(client).status_code for _ in range(2)]
            with provider:
                answers = [ask(client) for _ in range(2)]
        assert refused == [502, 502]
        assert [it.status_code for it in answers] == [200, 200]
        assert {it.http_version for it in answers} == {"HTTP/2" if http2 else "HTTP/1.1"}
        if http2:
            assert routing.proxy.log.count("client connect") == 1
        routing.assert_secret()


def test_a_good_connection_is_kept(under_pace):
    already = under_pace.proxy.log.count("server connect")
    with under_pace.client() as client:
        for _ in range(3):
            assert ask(client).status_code == 200
    assert under_pace.proxy.log.count("server connect") == already + 1
