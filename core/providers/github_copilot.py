"""GitHub Copilot, on the Anthropic Messages wire. PROVIDERS A.2, B.2, D.2, F.2."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, unquote

from core.errors import UsageError
from core.jsonspan import Node, Splice, spelled
from core.model import (
    Abilities,
    AccountKind,
    Ask,
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
    ModelsFlow,
    Outgoing,
    Provider,
    ThinkingRefusal,
    UsageFlow,
    get,
    header,
    header_list,
)
from core.reading import (
    count,
    epoch,
    event_object,
    flag,
    json_object,
    label,
    mapping,
    moment,
    month_before,
    number,
    sequence,
)
from core.sse import Event

API_VERSION = "2026-06-01"
"""Of the inference and model endpoints."""
USER_API_VERSION = "2025-04-01"

# The union of what OpenCode and VS Code send there; an unknown one is answered with 400.
INTERLEAVED = "interleaved-thinking-2025-05-14"
CONTEXT_MANAGEMENT = "context-management-2025-06-27"
BLOCK_BINDING = "thinking-binding-controls-2026-08-01"
BETAS = frozenset(
    {
        INTERLEAVED,
        CONTEXT_MANAGEMENT,
        BLOCK_BINDING,
        "advanced-tool-use-2025-11-20",
        "extended-cache-ttl-2025-04-11",
        "mid-conversation-system-2026-04-07",
        "pdfs-2024-09-25",
        "structured-outputs-2025-11-13",
    }
)

# Below these keys of a JSON Schema the keys are names that the tool's author chose, or data.
SCHEMA_NAMES = frozenset(
    {
        "properties",
        "patternProperties",
        "$defs",
        "definitions",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
    }
)
SCHEMA_DATA = frozenset({"const", "default", "enum", "example", "examples"})
# The arrays whose elements may have a cache_control; a tool result has `content` of its own.
CACHE_CARRIERS = ("system", "tools", "messages", "content")
# What has to stand in a body, or in a schema, for a walk through it to be worth its time.
ANTHROPIC_ONLY = frozenset({"container", "inference_geo", "mcp_servers", "output_format", "speed"})
"""Fields of Anthropic's own platform. To leave them out would change what was asked for."""
_TOOL_USE = spelled("tool_use")
PLACEHOLDER_TOOL = (
    b'[{"name":"_noop","description":"Never call this: it stands for tools used earlier.",'
    b'"input_schema":{"type":"object","properties":{}}}]'
)
_SCOPE = spelled("scope")
_DIALECT = spelled("$schema")

# The words of the Claude that is behind it, in whichever of Copilot's envelopes.
THINKING_REFUSALS: Mapping[str, ThinkingRefusal] = {
    # The longer text of a signature first: the shorter one is its beginning.
    "block is bound to a different conversation": ThinkingRefusal.CONVERSATION,
    "invalid signature in thinking block": ThinkingRefusal.SIGNATURE,
    "invalid data in redacted_thinking block": ThinkingRefusal.SIGNATURE,
    "expected thinking or redacted_thinking, but found": ThinkingRefusal.LOOP,
}

SNAPSHOTS = ("premium_interactions", "premium_models")
STREAMED = "copilot_quota_snapshots"
SESSION_LIMITS = {
    "x-usage-ratelimit-session": "session",
    "x-usage-ratelimit-weekly": "weekly",
}


def _endpoints(credential: Credential | None) -> Endpoints:
    host = credential.enterprise_host if credential else None
    if host is None:
        return Endpoints(
            "https://api.githubcopilot.com", "https://api.github.com/copilot_internal/user"
        )
    return Endpoints(f"https://copilot-api.{host}", f"https://api.{host}/copilot_internal/user")


def _model_id(model: str) -> str:
    """`claude-opus-4-5-20251101` is `claude-opus-4.5` here; `claude-sonnet-5` stays."""
    undated = re.sub(r"-\d{8}$", "", model)
    return re.sub(r"(?<=-)(\d{1,2})-(\d{1,2})(?=$|-)", r"\1.\2", undated)


def _unfit(ask: Ask) -> str | None:
    if ask.prefill:
        return "does not accept an answer begun by the client (prefill)"
    foreign = sorted(ask.fields & ANTHROPIC_ONLY)
    return f"does not know the field {foreign[0]}" if foreign else None


def _prepare(outgoing: Outgoing) -> Changes:
    ask = outgoing.ask
    members = dict(outgoing.body.members())
    betas = _betas(outgoing.headers, members.get("thinking"))
    changes: dict[str, str | None] = {
        # Getting the initiator wrong costs the user money: `user` is billed as a new request.
        "x-initiator": "user" if ask.user_turn and not ask.subagent else "agent",
        "openai-intent": "conversation-edits",
        "x-github-api-version": API_VERSION,
        "copilot-vision-request": "true" if ask.images else None,
        "x-interaction-id": ask.session,
        "anthropic-beta": ",".join(betas) or None,
    }
    if header(outgoing.headers, "user-agent") is None:
        # Copilot refuses a request without one. A client's own goes as it is.
        changes["user-agent"] = "limit-router"
    return Changes(changes, tuple(_edits(outgoing.body, members, betas)))


def _betas(headers: Headers, thinking: Node | None) -> list[str]:
    kept = [beta for beta in header_list(headers, "anthropic-beta") if beta in BETAS]
    adaptive = thinking is not None and thinking.get("type")
    if adaptive and adaptive.string() == "adaptive":
        # Adaptive thinking is interleaved by itself, and refused beside the beta.
        kept = [beta for beta in kept if beta != INTERLEAVED]
    return kept


def _edits(body: Node, members: dict[str, Node], betas: list[str]) -> Iterator[Splice]:
    if CONTEXT_MANAGEMENT not in betas:
        yield from body.without(["context_management"])
    thinking = members.get("thinking")
    if thinking is not None and BLOCK_BINDING not in betas:
        yield from thinking.without(["block_binding"])
    for tool in _items(members.get("tools")):
        yield from _tool(tool)
    yield from _tools_for_history(body, members.get("tools"))
    if _SCOPE.search(body.text):
        yield from _cache_scopes(body)


def _tools_for_history(body: Node, tools: Node | None) -> Iterator[Splice]:
    """A conversation that used tools is refused without `tools`: compaction sends such a one.

    OpenCode gives it a placeholder where it talks to Copilot itself (PROVIDERS 0.6).
    """
    if not _TOOL_USE.search(body.text):
        return
    if tools is None:
        yield body.with_first("tools", PLACEHOLDER_TOOL)
    elif tools.is_array and not tools.items():
        yield tools.replace(PLACEHOLDER_TOOL)


def _tool(tool: Node) -> Iterator[Splice]:
    yield from tool.without(["eager_input_streaming"])
    schema = tool.get("input_schema")
    if schema is not None and _DIALECT.search(schema.text, schema.start, schema.end):
        yield from _schema(schema)


def _schema(schema: Node) -> Iterator[Splice]:
    yield from schema.without(["$schema"])
    for key, value in schema.members():
        if key in SCHEMA_DATA or key == "$schema":
            continue
        if key in SCHEMA_NAMES:
            for _, named in value.members():
                yield from _schema(named)
        elif value.is_object:
            yield from _schema(value)
        else:
            for element in value.items():
                yield from _schema(element)


def _cache_scopes(holder: Node) -> Iterator[Splice]:
    """`cache_control.scope`, wherever a cache_control may stand."""
    members = dict(holder.members())
    if "cache_control" in members:
        yield from members["cache_control"].without(["scope"])
    for name in CACHE_CARRIERS:
        for carrier in _items(members.get(name)):
            yield from _cache_scopes(carrier)


def _items(node: Node | None) -> list[Node]:
    return [] if node is None else node.items()


def _read_limits(headers: Headers, now: float) -> tuple[Window, ...]:
    """Values are URL-encoded query strings; `rem` is the percentage that remains."""
    windows = []
    for name in SNAPSHOTS:
        value = header(headers, f"x-quota-snapshot-{name}")
        fields = _fields(value)
        remaining, resets_at = number(fields.get("rem")), moment(fields.get("rst"))
        entitlement = number(fields.get("ent"))
        if remaining is not None and entitlement is not None and entitlement > 0:
            beyond = fields.get("ovPerm", "").lower() == "true"
            month = _month(100.0 - remaining, resets_at, Source.HEADER, now, overage=beyond)
            windows.append(month)
            break
    for field, name in SESSION_LIMITS.items():
        fields = _fields(header(headers, field))
        remaining = number(fields.get("rem"))
        if remaining is not None:
            resets_at = moment(fields.get("rst"))
            # Their length is said nowhere: they exclude and are not scored.
            windows.append(Window(name, 100.0 - remaining, resets_at, None, Source.HEADER, now))
    return tuple(windows)


def _fields(value: str | None) -> dict[str, str]:
    if value is None:
        return {}
    text = value if "=" in value else unquote(value)
    try:
        return {key: values[0] for key, values in parse_qs(text, max_num_fields=32).items()}
    except ValueError:
        return {}


def _month(
    used: float, resets_at: float | None, source: Source, now: float, *, overage: bool = False
) -> Window:
    duration = None if resets_at is None else month_before(resets_at)
    return Window("month", used, resets_at, duration, source, now, overage=overage)


def _usage(url: str, _: Credential, now: float) -> UsageFlow:
    request = get(url, (("accept", "application/json"), ("x-github-api-version", USER_API_VERSION)))
    body = json_object((yield request), "the usage endpoint")
    reset = moment(body.get("quota_reset_date_utc")) or moment(body.get("quota_reset_date"))
    spent = _snapshot(mapping(body.get("quota_snapshots")), reset, Source.ENDPOINT, now)
    windows = (*_free_seat(body, now), *spent)
    return Usage(windows, label(body.get("copilot_plan")))


def _snapshot(
    snapshots: dict[str, object], reset: float | None, source: Source, now: float
) -> list[Window]:
    for name in SNAPSHOTS:
        snapshot = mapping(snapshots.get(name))
        remaining = number(snapshot.get("percent_remaining"))
        entitlement = number(snapshot.get("entitlement"))
        # `entitlement: 0, percent_remaining: 100` is a placeholder and says nothing.
        if remaining is not None and entitlement is not None and entitlement > 0:
            own = epoch(snapshot.get("quota_reset_at")) or moment(snapshot.get("reset_date"))
            beyond = snapshot.get("overage_permitted") is True
            return [_month(100.0 - remaining, own or reset, source, now, overage=beyond)]
    return []


def _read_event(event: Event, now: float) -> tuple[Window, ...]:
    """The last event of a stream repeats the snapshots, at its top."""
    if STREAMED.encode() not in event.data:
        return ()
    snapshots = mapping(event_object(event.data).get(STREAMED))
    return tuple(_snapshot(snapshots, None, Source.HEADER, now))


def _free_seat(body: dict[str, object], now: float) -> list[Window]:
    """The older shape of free seats: what is left of a month's chats, of how many."""
    left = number(mapping(body.get("limited_user_quotas")).get("chat"))
    total = number(mapping(body.get("monthly_quotas")).get("chat"))
    used = (
        None if left is None or not total or total < 0 else number(100.0 - 100.0 * (left / total))
    )
    if used is None:
        return []
    return [_month(used, moment(body.get("limited_user_reset_date")), Source.ENDPOINT, now)]


def _models(base_url: str, _wire: Wire) -> ModelsFlow:
    request = get(
        f"{base_url}/models",
        (("accept", "application/json"), ("x-github-api-version", API_VERSION)),
    )
    body = json_object((yield request), "the model list")
    data = body.get("data")
    if not isinstance(data, list):
        # Not the same as a list of nothing: that would bench the account for a day.
        raise UsageError("the model list answered an object without a list")
    usable = [entry for entry in map(mapping, data) if _serves_messages(entry)]
    named = [(label(entry.get("id")), _abilities(entry)) for entry in usable]
    return {name: abilities for name, abilities in named if name is not None}


def _abilities(entry: dict[str, object]) -> Abilities:
    """That a field about thinking is missing says nothing: older entries have none."""
    told = mapping(entry.get("capabilities"))
    limits, supports = mapping(told.get("limits")), mapping(told.get("supports"))
    thinks = supports.get("adaptive_thinking") is True or count(supports.get(_BUDGET))
    return Abilities(
        context=count(limits.get("max_context_window_tokens")),
        prompt=count(limits.get("max_prompt_tokens")),
        output=count(limits.get("max_output_tokens")),
        images=flag(supports.get("vision")),
        tools=flag(supports.get("tool_calls")),
        thinking=True if thinks else None,
    )


_BUDGET = "max_thinking_budget"


def _serves_messages(entry: dict[str, object]) -> bool:
    """Where the field is missing the model is served by Chat Completions alone."""
    enabled = mapping(entry.get("policy")).get("state", "enabled") == "enabled"
    return enabled and "/v1/messages" in sequence(entry.get("supported_endpoints"))


PROVIDER = Provider(
    id="github-copilot",
    name="GitHub Copilot",
    endpoints=_endpoints,
    paths={Wire.MESSAGES: "/v1/messages"},
    env=("GITHUB_COPILOT_TOKEN",),
    env_type=CredentialType.OAUTH,
    opencode_keys=("github-copilot",),
    # OpenCode uses the sign-in's long-lived token as it is, and stores it in both fields.
    opencode_token=lambda entry: entry.get("refresh") or entry.get("access"),
    kind=lambda _: AccountKind.SUBSCRIPTION,
    opt_in=lambda _: None,
    authorize=lambda credential: (("authorization", f"Bearer {credential.secret.reveal()}"),),
    model_id=_model_id,
    unfit=_unfit,
    prepare=_prepare,
    thinking_bound_to_model=True,
    thinking_refusals=THINKING_REFUSALS,
    read_limits=_read_limits,
    read_event=_read_event,
    usage=_usage,
    models=_models,
)
