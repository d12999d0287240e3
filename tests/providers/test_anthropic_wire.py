import json
from typing import Any

import pytest
from hypothesis import given
from json_spelling import objects, seeds, spelled

from core import rewrite
from core.match import Matched, match
from core.model import Ask, Credential, CredentialType, Headers, HttpRequest, Secret, Wire
from core.provider import Changes, Outgoing
from core.providers.anthropic import PROVIDER
from core.rewrite import Target

API, OAUTH = CredentialType.API, CredentialType.OAUTH
VERSION = ("anthropic-version", "2023-06-01")
HELLO: dict[str, Any] = {"model": "limit-router/claude-sonnet-4-5", "messages": [], "max_tokens": 1}


def matched(body: bytes, headers: Headers = ()) -> Matched:
    request = HttpRequest(
        "POST", "https", "limit-router.invalid", 443, "/v1/messages", headers, body
    )
    found = match(request, ("claude-sonnet-4-5",))
    assert isinstance(found, Matched)
    return found


def changes(headers: Headers, kind: CredentialType) -> Changes:
    found = matched(json.dumps(HELLO).encode())
    return PROVIDER.prepare(Outgoing(found.ask, headers, found.body, kind))


@pytest.mark.parametrize(
    ("kind", "headers", "expected"),
    [
        (API, (VERSION,), {}),
        (API, (("Anthropic-Version", "2099-01-01"),), {}),
        (API, (), {"anthropic-version": "2023-06-01"}),
        (API, (VERSION, ("anthropic-beta", "a,b")), {}),
        (OAUTH, (VERSION,), {"anthropic-beta": "oauth-2025-04-20"}),
        (
            OAUTH,
            (),
            {"anthropic-version": "2023-06-01", "anthropic-beta": "oauth-2025-04-20"},
        ),
        (
            OAUTH,
            (VERSION, ("anthropic-beta", "a, b")),
            {"anthropic-beta": "a,b,oauth-2025-04-20"},
        ),
        (
            OAUTH,
            (VERSION, ("Anthropic-Beta", "a"), ("anthropic-beta", "b,")),
            {"anthropic-beta": "a,b,oauth-2025-04-20"},
        ),
        (OAUTH, (VERSION, ("anthropic-beta", "a,oauth-2025-04-20,b")), {}),
        (OAUTH, (VERSION, ("anthropic-beta", "a"), ("anthropic-beta", "oauth-2025-04-20")), {}),
    ],
)
def test_the_header_fields_that_are_set(
    kind: CredentialType, headers: Headers, expected: dict[str, str]
) -> None:
    assert changes(headers, kind) == Changes(expected)


@pytest.mark.parametrize("kind", CredentialType)
@given(value=objects, seed=seeds)
def test_the_body_arrives_byte_for_byte_but_for_the_model(
    kind: CredentialType, value: dict[str, Any], seed: int
) -> None:
    extra = {
        "thinking": {"type": "adaptive", "block_binding": {}},
        "context_management": {},
        "tools": [{"eager_input_streaming": True, "input_schema": {"$schema": "x"}}],
        "system": [{"cache_control": {"scope": "global"}}],
    }
    text = spelled(value | HELLO | extra, seed)
    found = matched(text)
    target = Target(PROVIDER, "https://api.anthropic.com", "claude-sonnet-4-5", kind)
    assert rewrite.apply(found, target).body == (
        text[: found.model.start] + b'"claude-sonnet-4-5"' + text[found.model.end :]
    )


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (API, (("x-api-key", "sk-1"),)),
        (OAUTH, (("authorization", "Bearer sk-1"),)),
    ],
)
def test_the_credential_s_header_field(kind: CredentialType, fields: Headers) -> None:
    assert PROVIDER.authorize(Credential(kind, Secret("sk-1"), "here", "digest")) == fields


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-5-20251101", "anything"])
def test_models_are_spelled_as_they_are(model: str) -> None:
    assert PROVIDER.model_id(model) == model


def test_only_a_sign_in_needs_consent() -> None:
    assert PROVIDER.opt_in(API) is None
    assert "providers.anthropic.oauth" in str(PROVIDER.opt_in(OAUTH))


def test_a_prefill_is_no_obstacle() -> None:
    assert PROVIDER.unfit(Ask(Wire.MESSAGES, "x", prefill=True)) is None
