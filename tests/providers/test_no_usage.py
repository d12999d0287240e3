"""Providers that say nothing of their quota: OpenAI and Google by key, OpenCode Zen."""

import pytest
from asking import KEY, TOKEN, recorded

from core.model import AccountKind, CredentialType
from core.provider import Provider
from core.providers import google, openai, opencode
from core.sse import Event

ALL = [google.PROVIDER, openai.PROVIDER, opencode.PROVIDER]


@pytest.mark.parametrize("provider", ALL, ids=lambda it: it.id)
def test_a3_a5_a7_there_is_no_endpoint_to_ask(provider: Provider) -> None:
    assert (provider.usage, provider.endpoints(KEY).usage_url) == (None, None)
    assert provider.kind(CredentialType.API) is AccountKind.METERED
    assert provider.opt_in(CredentialType.API) is None
    assert provider.model_id("model-1") == "model-1"


@pytest.mark.parametrize("provider", ALL, ids=lambda it: it.id)
def test_b3_b6_burst_limits_are_no_windows(provider: Provider) -> None:
    headers = tuple(recorded("openai", "headers").items())
    assert provider.read_limits(headers, 1.0) == ()
    assert provider.read_event(Event("", b'{"type":"rate_limits"}'), 1.0) == ()


def test_d_how_each_takes_its_key() -> None:
    assert [provider.authorize(KEY) for provider in ALL] == [
        (("authorization", f"Bearer {TOKEN}"),),
        (("authorization", f"Bearer {TOKEN}"),),
        (("x-api-key", TOKEN),),
    ]
