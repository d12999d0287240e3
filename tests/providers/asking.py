"""Puts recorded and made-up answers to a provider's parsers."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import UsageError
from core.model import Credential, CredentialType, HttpRequest, HttpResponse, Secret, Usage
from core.provider import Provider

DATA = Path(__file__).parents[1] / "data"
TOKEN = "sk-SECRET"
KEY = Credential(CredentialType.API, Secret(TOKEN), "TEST", "me")


def recorded(provider: str, name: str) -> Any:
    return json.loads((DATA / provider / f"{name}.json").read_text())


def asks(provider: Provider, now: float, credential: Credential = KEY) -> HttpRequest:
    """The request that a provider makes for its usage."""
    url = provider.endpoints(credential).usage_url
    assert url is not None
    assert provider.usage is not None
    return next(provider.usage(url, credential, now))


def read(
    provider: Provider, body: object, now: float, status: int = 200, *headers: tuple[str, str]
) -> Usage:
    """What it makes of an answer. `body` is text as it came, or a value to be sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert provider.usage is not None
    flow = provider.usage("https://example.com/usage", KEY, now)
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(HttpResponse(status, headers, raw))
    usage = done.value.value
    assert isinstance(usage, Usage)
    return usage


def refused(
    provider: Provider, body: object, now: float, status: int = 200, *headers: tuple[str, str]
) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(provider, body, now, status, *headers)
    return caught.value
