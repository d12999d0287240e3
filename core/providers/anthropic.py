"""Anthropic: API keys (pay per token) and Claude Pro/Max sign-ins. PROVIDERS A.1, B.1, D.2, E.2."""

import re
from collections.abc import Mapping
from dataclasses import replace

from core.model import (
    Abilities,
    AccountKind,
    Credential,
    CredentialType,
    Headers,
    Secret,
    Source,
    Usage,
    Window,
    Wire,
)
from core.oauth import as_json, granted, renewed
from core.provider import (
    Changes,
    Endpoints,
    ModelsFlow,
    Outgoing,
    Provider,
    RefreshFlow,
    ThinkingRefusal,
    UsageFlow,
    get,
    header,
    header_list,
)
from core.reading import count, epoch, flag, json_object, label, mapping, moment, number, sequence

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
ALLOWED = frozenset({"allowed", "allowed_warning"})
REJECTED = frozenset({"rejected", "blocked", "rate_limited", "payment_required"})
PREFIX = "anthropic-ratelimit-unified-"
TOKEN_URL = "https://platform.claude.com/v1/oauth/token"  # noqa: S105 - an address
CLIENT_ID = "9d1c250a-e61b-44d9-88ed-5944d1962f5e"
"""A refresh token works for the client alone that it was issued to."""
THINKING_REFUSALS: Mapping[str, ThinkingRefusal] = {
    # The longer text of a signature first: the shorter one is its beginning.
    "block is bound to a different conversation": ThinkingRefusal.CONVERSATION,
    "invalid signature in thinking block": ThinkingRefusal.SIGNATURE,
    "invalid data in redacted_thinking block": ThinkingRefusal.SIGNATURE,
    "expected thinking or redacted_thinking, but found": ThinkingRefusal.LOOP,
}


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
    overage = _said(fields, "overage-status") in ALLOWED
    paid_for = _said(fields, "overage-in-use") == "true"
    claimed = CLAIMS.get(_said(fields, "representative-claim"))
    for short, name in HEADER_WINDOWS.items():
        used = _used(fields, PREFIX + short)
        if used is None:
            continue
        if paid_for and name == claimed:
            used = max(used, 100.0)
        duration, scope = BODY_WINDOWS[name]
        resets_at = epoch(fields.get(f"{PREFIX}{short}-reset"))
        windows.append(Window(name, used, resets_at, duration, Source.HEADER, now, scope, overage))
    spent = paid_for or _said(fields, "status") in REJECTED
    if spent and claimed is not None and claimed not in {window.name for window in windows}:
        # The answer leaves out the window that it rests on.
        duration, scope = BODY_WINDOWS[claimed]
        resets_at = epoch(fields.get(f"{PREFIX}reset"))
        read = Window(claimed, 100.0, resets_at, duration, Source.HEADER, now, scope, overage)
        windows.append(read)
    return tuple(windows)


def _said(fields: Mapping[str, str], name: str) -> str:
    return fields.get(PREFIX + name, "").strip().lower()


def _used(fields: Mapping[str, str], prefix: str) -> float | None:
    """In percent. A rejected window is spent, whatever its share says."""
    share = number(fields.get(f"{prefix}-utilization"))
    used = None if share is None else number(100.0 * share)
    if _said(fields, f"{prefix.removeprefix(PREFIX)}-status") in REJECTED:
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
    extra = mapping(body.get("extra_usage"))
    overage = extra.get("is_enabled") is True and extra.get("disabled_reason") is None
    return Usage(tuple(replace(window, overage=overage) for window in windows.values()))


def _refresh(url: str, refresh: Secret, now: float) -> RefreshFlow:
    """The refresh token is a new one as a rule, and stays where the answer has none."""
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": refresh.reveal(),
        "client_id": CLIENT_ID,
    }
    return renewed(granted((yield as_json(url, fields)), {"invalid_grant"}), now)


def _models(base_url: str, _wire: Wire) -> ModelsFlow:
    request = get(
        f"{base_url}/v1/models?limit=1000",
        (("accept", "application/json"), ("anthropic-version", VERSION)),
    )
    body = json_object((yield request), "the model list")
    found: dict[str, Abilities] = {}
    for entry in map(mapping, sequence(body.get("data"))):
        name = label(entry.get("id"))
        if name is not None:
            found[name] = _abilities(entry)
    # Snapshots may stand there alone, the newest first; their models' names are used as well.
    for name, abilities in list(found.items()):
        found.setdefault(_SNAPSHOT.sub("", name), abilities)
    return found


_SNAPSHOT = re.compile(r"-\d{8}\Z")


def _abilities(entry: Mapping[str, object]) -> Abilities:
    """Any of these may be null. `max_input_tokens` is left out: a beta takes five times as much."""
    capabilities = mapping(entry.get("capabilities"))
    return Abilities(
        output=count(entry.get("max_tokens")),
        images=flag(mapping(capabilities.get("image_input")).get("supported")),
        thinking=flag(mapping(capabilities.get("thinking")).get("supported")),
    )


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
    words = re.findall(r"[a-z]+", (label(name) or "").lower())
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
    thinking_refusals=THINKING_REFUSALS,
    read_limits=_read_limits,
    usage=_usage,
    refresh=_refresh,
    token_url=TOKEN_URL,
    has_usage=lambda credential: credential.type is CredentialType.OAUTH,
    models=_models,
    # Whether it answers sign-ins is not known.
    has_models=lambda credential: credential.type is CredentialType.API,
    # It leaves out names that resolve on use.
    lists_all=False,
)
