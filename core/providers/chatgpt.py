"""ChatGPT sign-ins (Codex). PROVIDERS A.3, B.4, D.4, E.1."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from core.model import (
    AccountKind,
    Credential,
    CredentialType,
    Headers,
    Secret,
    Source,
    Usage,
    Window,
)
from core.oauth import as_form, claims, granted, renewed
from core.provider import Endpoints, Provider, RefreshFlow, UsageFlow, get
from core.reading import (
    epoch,
    event_object,
    json_object,
    label,
    mapping,
    number,
    sequence,
    window_length,
    window_name,
)
from core.sse import Event

PLACES = ("primary", "secondary")
"""Which stands where is said nowhere: a plan with a week alone has it in the first place."""
PREFIX = "x-codex-"
FAMILY = re.compile(PREFIX + r"(?:(.+)-)?(?:primary|secondary)-used-percent")
PARTS = ("used-percent", "window-minutes", "reset-at", "reset-after-seconds")
EVENT = "codex.rate_limits"
EVERY_MODEL = frozenset({"codex", "premium"})
"""What the limit of all models is called where it is called anything."""
ACCOUNT_ID = re.compile(r"[\x21-\x7e]+")
TOKEN_URL = "https://auth.openai.com/oauth/token"  # noqa: S105 - an address
CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
"""A refresh token works for the client alone that it was issued to: OpenCode signs in with this."""
DEAD = frozenset(
    {
        "invalid_grant",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "refresh_token_reused",
    }
)


def _authorize(credential: Credential) -> Headers:
    fields = (("authorization", f"Bearer {credential.secret.reveal()}"),)
    if credential.account_id is None:
        return fields
    # Without it the account's default workspace answers, which may be another plan.
    return (*fields, ("chatgpt-account-id", credential.account_id))


def _usage(url: str, _: Credential, now: float) -> UsageFlow:
    body = json_object((yield get(url, (("accept", "application/json"),))), "the usage endpoint")
    limit = mapping(body.get("rate_limit"))
    found = [*_windows(_in_body(limit), None, Source.ENDPOINT, now)]
    for other in map(mapping, sequence(body.get("additional_rate_limits"))):
        scope = _scope(other.get("limit_name")) or _scope(other.get("metered_feature"))
        if scope is not None:
            entries = _in_body(mapping(other.get("rate_limit")))
            found += _windows(entries, scope, Source.ENDPOINT, now)
    for holder in (limit, mapping(body.get("spend_control"))):
        found += _individual(mapping(holder.get("individual_limit")), now)
    return Usage(_fullest(found), label(body.get("plan_type")))


def _refresh(url: str, refresh: Secret, now: float) -> RefreshFlow:
    """Every refresh token works once: reusing one may end the whole sign-in."""
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": refresh.reveal(),
        "client_id": CLIENT_ID,
    }
    body = granted((yield as_form(url, fields)), DEAD)
    found = (_account(claims(body.get(name))) for name in ("id_token", "access_token"))
    return renewed(body, now, next((it for it in found if it is not None), None))


def _account(said: Mapping[str, Any]) -> str | None:
    """The account (workspace) that a token is for."""
    # One claim's name is an address in OpenAI's own name space, which ends like this.
    own = next((value for name, value in said.items() if name.endswith("/auth")), None)
    organization = next(iter(sequence(said.get("organizations"))), None)
    found = (
        said.get("chatgpt_account_id"),
        mapping(own).get("chatgpt_account_id"),
        mapping(organization).get("id"),
    )
    return next((it for it in found if isinstance(it, str) and ACCOUNT_ID.fullmatch(it)), None)


def _in_body(limit: Mapping[str, object]) -> list[Mapping[str, object]]:
    return [mapping(limit.get(f"{place}_window")) for place in PLACES]


def _individual(entry: Mapping[str, object], now: float) -> Iterator[Window]:
    """What a member of a workspace may spend of its credits, over a time that is not said."""
    limit, spent = number(entry.get("limit")), number(entry.get("used"))
    left = number(entry.get("remaining_percent"))
    used = None if left is None else 100.0 - left
    if limit is not None and limit > 0.0 and spent is not None:
        used = number(100.0 * (spent / limit))
    elif used == 0.0:
        return  # all is left of a limit that is null: a placeholder
    if used is not None:
        resets_at = _resets_at(entry, now)
        yield Window("individual_limit", used, resets_at, None, Source.ENDPOINT, now)


def _read_limits(headers: Headers, now: float) -> tuple[Window, ...]:
    """`x-codex-primary-…` binds every model, `x-codex-<code name>-primary-…` the one it names."""
    fields = {name.lower(): value for name, value in headers if name.lower().startswith(PREFIX)}
    families = {match[1] or "" for match in map(FAMILY.fullmatch, fields) if match}
    limits = {family: _in_headers(fields, family) for family in sorted(families)}
    active = fields.get(f"{PREFIX}active-limit", "").lower().replace("_", "-")
    active = active.removeprefix("codex-")
    if active and _figures(limits.get(active, [])) == _figures(limits.get("", [])):
        # A model that has a limit of its own was asked: the plain fields repeat that one.
        limits.pop("", None)
    found: list[Window] = []
    for family, entries in limits.items():
        scope = _scope(fields.get(f"{PREFIX}{family}-limit-name")) if family else None
        if not family or scope is not None:
            found += _windows(entries, scope, Source.HEADER, now)
    return _fullest(found)


def _in_headers(fields: Mapping[str, str], family: str) -> list[Mapping[str, object]]:
    prefix = f"{PREFIX}{family}-" if family else PREFIX
    return [
        {part.replace("-", "_"): fields.get(f"{prefix}{place}-{part}") for part in PARTS}
        for place in PLACES
    ]


def _figures(entries: list[Mapping[str, object]]) -> list[tuple[float | None, float | None]]:
    return [(number(it.get("used_percent")), number(it.get("window_minutes"))) for it in entries]


def _read_event(event: Event, now: float) -> tuple[Window, ...]:
    if EVENT.encode() not in event.data:
        return ()
    body = event_object(event.data)
    names = [body.get("limit_name"), body.get("metered_limit_name")]
    scopes = [scope for scope in map(_scope, names) if scope is not None]
    if body.get("type") != EVENT or (not scopes and names != [None, None]):
        return ()
    scope = scopes[0] if scopes and EVERY_MODEL.isdisjoint(scopes) else None
    limits = mapping(body.get("rate_limits"))
    entries = [mapping(limits.get(place)) for place in PLACES]
    return _fullest(_windows(entries, scope, Source.HEADER, now))


def _windows(
    entries: Iterable[Mapping[str, object]], scope: str | None, source: Source, now: float
) -> Iterator[Window]:
    """The windows of one limit, each in the body's terms or the headers'; of all zeros is none."""
    for place, entry in zip(PLACES, entries, strict=True):
        used, lasts = number(entry.get("used_percent")), _length(entry)
        resets_at = _resets_at(entry, now)
        if used is None or (used == 0.0 and lasts is None and resets_at is None):
            continue
        name = place if lasts is None else window_name(lasts)
        if scope is not None:
            name = f"{name}_{scope}"
        yield Window(name, used, resets_at, lasts, source, now, scope)


def _length(entry: Mapping[str, object]) -> float | None:
    minutes = number(entry.get("window_minutes"))
    seconds = window_length(entry.get("limit_window_seconds"))
    return window_length(60.0 * minutes) if seconds is None and minutes is not None else seconds


def _resets_at(entry: Mapping[str, object], now: float) -> float | None:
    at = epoch(entry.get("reset_at")) or epoch(entry.get("resets_at"))
    after = number(entry.get("reset_after_seconds"))
    if at is None and after is not None and after > 0.0:
        return epoch(now + after)
    return at


def _scope(name: object) -> str | None:
    """A limit is called as the model is that it binds: `GPT-5.3-Codex-Spark`."""
    scope = (label(name) or "").lower()
    return scope if re.search("[a-z0-9]", scope) else None


def _fullest(found: Iterable[Window]) -> tuple[Window, ...]:
    """One window of each name: a limit's two places have been seen to hold the same length."""
    windows: dict[str, Window] = {}
    for window in found:
        held = windows.get(window.name)
        if held is None or held.used_percent < window.used_percent:
            windows[window.name] = window
    return tuple(windows.values())


PROVIDER = Provider(
    id="chatgpt",
    name="ChatGPT",
    endpoints=lambda _: Endpoints(
        base_url="https://chatgpt.com/backend-api/codex",
        usage_url="https://chatgpt.com/backend-api/wham/usage",
    ),
    paths={},
    env=(),
    # OpenCode keeps the sign-in under OpenAI's name; an API key there is not for this host.
    opencode_keys=("openai",),
    accepts=lambda type_: type_ is CredentialType.OAUTH,
    opencode_token=lambda entry: entry.get("access"),
    kind=lambda _: AccountKind.SUBSCRIPTION,
    opt_in=lambda _: None,
    authorize=_authorize,
    # OpenCode's names are OpenAI's own.
    model_id=lambda model: model,
    read_limits=_read_limits,
    read_event=_read_event,
    usage=_usage,
    refresh=_refresh,
    token_url=TOKEN_URL,
)
