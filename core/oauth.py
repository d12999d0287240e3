"""The refresh of RFC 6749 §6, as providers speak it: the question, and what an answer gives.

Pure, and knows no provider. No sentence of its own holds a word of what was sent or answered.
"""

import re
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from core.errors import RefreshError
from core.model import HttpRequest, HttpResponse, Secret
from core.provider import Renewed, post
from core.reading import event_object, mapping, number, retry_after

USUAL_LIFETIME_S = 3600.0
"""OpenCode's own assumption where an answer does not say how long the token lasts."""
LONGEST_LIFETIME_S = 10 * 366 * 86400.0

_TOKEN = re.compile(r"[\x21-\x7e]+")
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


def as_form(url: str, fields: Mapping[str, str]) -> HttpRequest:
    """The question as RFC 6749 has it."""
    return post(url, (("accept", _JSON), ("content-type", _FORM)), urlencode(fields).encode())


def as_json(url: str, fields: Mapping[str, str]) -> HttpRequest:
    """The same fields as JSON, which some providers want."""
    return post(url, (("accept", _JSON), ("content-type", _JSON)), msgspec.json.encode(fields))


def granted(answer: HttpResponse, final: Collection[str]) -> dict[str, Any]:
    """The body that holds the new tokens. Raises RefreshError.

    `final` are the error codes that say that this refresh token will never work again. Any other
    refusal may be a passing one: a sign-in is not given up for a fault of a proxy on the way.
    """
    body = event_object(answer.body)
    if answer.status == 200:  # noqa: PLR2004
        return body
    if answer.status == 429:  # noqa: PLR2004
        raise RefreshError(
            "the token endpoint limits how often it is asked", retry_after(answer.headers)
        )
    said = f"the token endpoint answered {answer.status}"
    refused = 400 <= answer.status < 500 and not _codes(body).isdisjoint(final)  # noqa: PLR2004
    raise RefreshError(said, retry_after(answer.headers), refused)


def renewed(body: Mapping[str, Any], now: float, account_id: str | None = None) -> Renewed:
    """The tokens in a body that was granted. Raises RefreshError where there is none."""
    access = _token(body.get("access_token"))
    if access is None:
        raise RefreshError("the token endpoint answered without a token that can be used")
    lasts = number(body.get("expires_in"))
    if lasts is None or lasts <= 0.0:
        lasts = USUAL_LIFETIME_S
    expires_at = now + min(lasts, LONGEST_LIFETIME_S)
    return Renewed(access, _token(body.get("refresh_token")), expires_at, account_id)


def claims(token: object) -> dict[str, Any]:
    """What a JWT says, unchecked; nothing where it is none. Its sender is who it is about."""
    parts = token.split(".") if isinstance(token, str) else []
    if len(parts) != 3:  # noqa: PLR2004
        return {}
    try:
        payload = urlsafe_b64decode(parts[1].encode() + b"==")
    except (NotBase64, ValueError):
        return {}
    return event_object(payload)


def _codes(body: Mapping[str, Any]) -> set[str]:
    """`{"error": "…"}` is the RFC's form; others nest it, or call it a code."""
    error = body.get("error")
    found = (error, mapping(error).get("code"), mapping(error).get("type"), body.get("code"))
    return {code for code in found if isinstance(code, str)}


def _token(value: object) -> Secret | None:
    """Header fields carry access tokens, so a space or a line end in one is a broken answer."""
    return Secret(value) if isinstance(value, str) and _TOKEN.fullmatch(value) else None
