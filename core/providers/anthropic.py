"""Anthropic: API keys (pay per token) and Claude Pro/Max sign-ins. PROVIDERS A.1, B.1, D.2."""

import re
from collections.abc import Mapping

from core.model import (
    AccountKind,
    Credential,
    CredentialType,
    Headers,
    Source,
    Usage,
    Window,
    Wire,
)
from core.provider import (
    Changes,
    Endpoints,
    Outgoing,
    Provider,
    UsageFlow,
    get,
    header,
    header_list,
)
from core.reading import epoch, json_object, mapping, moment, number, sequence

OAUTH_BETA = "oauth-2025-04-20"
VERSION = "2023-06-01"
HOUR = 3600.0
WEEK = 7 * 24 * HOUR

BODY_WINDOWS: Mapping[str, tuple[float, str | None]] = {
    "five_hour": (5 * HOUR, None),
    "seven_day": (WEEK, None),
    "seven_day_opus": (WEEK, "opus"),
    "seven_day_sonnet": (WEEK, "sonnet"),
    "seven_day_fable": (WEEK, "fable"),
}
HEADER_WINDOWS: Mapping[str, str] = {
    "5h": "five_hour",
    "7d": "seven_day",
    "7d_opus": "seven_day_opus",
    "7d_sonnet": "seven_day_sonnet",
    # The weekly limit of Fable-class models is called so in headers alone.
    "7d_oi": "seven_day_fable",
}
CLAIMS: Mapping[str, str] = {name: name for name in BODY_WINDOWS} | {
    "seven_day_overage_included": "seven_day_fable"
}
REJECTED = frozenset({"rejected", "blocked", "rate_limited", "payment_required"})
PREFIX = "anthropic-ratelimit-unified-"


def _authorize(credential: Credential) -> Headers:
    token = credential.secret.reveal()
    if credential.type is CredentialType.OAUTH:
        return (("authorization", f"Bearer {token}"),)
    return (("x-api-key", token),)


def _opt_in(kind: CredentialType) -> str | None:
    if kind is not CredentialType.OAUTH:
        return None
    return (
        "Anthropic forbids Pro/Max sign-ins in third-party clients; "
        "set providers.anthropic.oauth to true to route to it all the same"
    )


def _prepare(outgoing: Outgoing) -> Changes:
    changes: dict[str, str | None] = {}
    if header(outgoing.headers, "anthropic-version") is None:
        changes["anthropic-version"] = VERSION
    if outgoing.credential_type is CredentialType.OAUTH:
        betas = header_list(outgoing.headers, "anthropic-beta")
        if OAUTH_BETA not in betas:
            changes["anthropic-beta"] = ",".join([*betas, OAUTH_BETA])
    return Changes(changes)


def _read_limits(headers: Headers, now: float) -> tuple[Window, ...]:
    """Shares are 0 to 1 (1.01 was seen), resets are epoch seconds.

    The requests and tokens per minute of an API key are burst limits, not quotas: left out.
    """
    fields = {name.lower(): value for name, value in headers if name.lower().startswith(PREFIX)}
    windows = []
    for short, name in HEADER_WINDOWS.items():
        used = _used(fields, PREFIX + short)
        if used is None:
            continue
        duration, scope = BODY_WINDOWS[name]
        resets_at = epoch(fields.get(f"{PREFIX}{short}-reset"))
        windows.append(Window(name, used, resets_at, duration, Source.HEADER, now, scope))
    claim = _claimed(fields, now)
    if claim is not None and claim.name not in {window.name for window in windows}:
        windows.append(claim)
    return tuple(windows)


def _claimed(fields: Mapping[str, str], now: float) -> Window | None:
    """What a rejection rests on, for an answer that leaves the window's own fields out."""
    name = CLAIMS.get(fields.get(f"{PREFIX}representative-claim", "").strip().lower())
    if name is None or fields.get(f"{PREFIX}status", "").strip().lower() not in REJECTED:
        return None
    duration, scope = BODY_WINDOWS[name]
    resets_at = epoch(fields.get(f"{PREFIX}reset"))
    return Window(name, 100.0, resets_at, duration, Source.HEADER, now, scope)


def _used(fields: Mapping[str, str], prefix: str) -> float | None:
    """In percent. A rejected window is spent, whatever its share says."""
    share = number(fields.get(f"{prefix}-utilization"))
    used = None if share is None else number(100.0 * share)
    if fields.get(f"{prefix}-status", "").strip().lower() in REJECTED:
        return max(used or 0.0, 100.0)
    return used


def _usage(url: str, _: Credential, now: float) -> UsageFlow:
    request = get(url, (("accept", "application/json"), ("anthropic-beta", OAUTH_BETA)))
    body = json_object((yield request), "the usage endpoint")
    windows = {}
    for name, (duration, scope) in BODY_WINDOWS.items():
        entry = mapping(body.get(name))
        used = number(entry.get("utilization"))
        if used is not None:
            resets_at = moment(entry.get("resets_at"))
            windows[name] = Window(name, used, resets_at, duration, Source.ENDPOINT, now, scope)
    for limit in sequence(body.get("limits")):
        scoped = _scoped_limit(mapping(limit), now)
        if scoped is not None:
            windows[scoped.name] = scoped
    return Usage(tuple(windows.values()))


def _scoped_limit(limit: Mapping[str, object], now: float) -> Window | None:
    """A per-model week. Since July 2026 they stand in `limits` alone."""
    used = number(limit.get("percent"))
    if limit.get("kind") != "weekly_scoped" or used is None:
        return None
    scope = limit.get("scope")
    model = mapping(mapping(scope).get("model"))
    family = _family(scope) or _family(model.get("id")) or _family(model.get("display_name"))
    if family is None:
        return None
    resets_at = moment(limit.get("resets_at"))
    return Window(f"seven_day_{family}", used, resets_at, WEEK, Source.ENDPOINT, now, family)


def _family(name: object) -> str | None:
    """`opus`, of that and of `Claude Opus 4.5` and `claude-opus-4-5`."""
    words = re.findall(r"[a-z]+", name.lower()) if isinstance(name, str) else []
    return next((word for word in words if word != "claude"), None)


PROVIDER = Provider(
    id="anthropic",
    name="Anthropic",
    endpoints=lambda _: Endpoints(
        base_url="https://api.anthropic.com",
        usage_url="https://api.anthropic.com/api/oauth/usage",
    ),
    paths={Wire.MESSAGES: "/v1/messages"},
    env=("ANTHROPIC_API_KEY",),
    opencode_keys=("anthropic",),
    opencode_token=lambda entry: entry.get("access"),
    kind=lambda type_: (
        AccountKind.SUBSCRIPTION if type_ is CredentialType.OAUTH else AccountKind.METERED
    ),
    opt_in=_opt_in,
    authorize=_authorize,
    # OpenCode's names are Anthropic's own.
    model_id=lambda model: model,
    prepare=_prepare,
    read_limits=_read_limits,
    usage=_usage,
    has_usage=lambda credential: credential.type is CredentialType.OAUTH,
)
