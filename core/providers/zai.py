"""z.ai, the GLM coding plan. PROVIDERS A.6, C.6, D.3, D.5."""

from collections.abc import Iterator, Mapping

from core.errors import UsageError
from core.model import AccountKind, Credential, Source, Usage, Window
from core.provider import Endpoints, Provider, UsageFlow, get
from core.reading import (
    DAY,
    HOUR,
    epoch_ms,
    json_object,
    label,
    mapping,
    number,
    sequence,
    window_length,
    window_name,
)

UNITS: Mapping[float, float] = {1: DAY, 3: HOUR, 5: 730 * HOUR, 6: 7 * DAY}
"""The length of a `unit`, of which a window lasts `number`."""
QUOTAS = ("TOKENS_LIMIT", "CREDIT_LIMIT")
"""TIME_LIMIT is the month of its MCP tools: no model spends it."""
LARGEST_CODE = 99_999


def _usage(url: str, _: Credential, now: float) -> UsageFlow:
    body = json_object((yield get(url, (("accept", "application/json"),))), "the usage endpoint")
    _check(body)
    data = mapping(body.get("data"))
    limits = sequence(data.get("limits")) or sequence(body.get("limits"))
    windows: dict[str, Window] = {}
    for window in _windows(limits, now):
        held = windows.get(window.name)
        if held is None or held.used_percent < window.used_percent:
            windows[window.name] = window
    return Usage(tuple(windows.values()), label(data.get("planName")))


def _check(body: Mapping[str, object]) -> None:
    """It says inside a 200 that it failed. Raises UsageError."""
    code = number(body.get("code")) or 0.0
    if 400 <= code <= LARGEST_CODE:  # noqa: PLR2004
        raise UsageError(f"the usage endpoint answered code {code:.0f}", limited=code == 429)  # noqa: PLR2004
    if body.get("success") is False or code > LARGEST_CODE:
        raise UsageError("the usage endpoint answered a failure")


def _windows(limits: list[object], now: float) -> Iterator[Window]:
    for limit in map(mapping, limits):
        used, lasts = number(limit.get("percentage")), _length(limit)
        if limit.get("type") in QUOTAS and used is not None and lasts is not None:
            resets_at = epoch_ms(limit.get("nextResetTime"))
            yield Window(window_name(lasts), used, resets_at, lasts, Source.ENDPOINT, now)


def _length(limit: Mapping[str, object]) -> float | None:
    unit, count = number(limit.get("unit")), number(limit.get("number", 1))
    if unit is None or count is None:
        return None
    return window_length(UNITS.get(unit, 0.0) * count)


PROVIDER = Provider(
    id="zai",
    name="z.ai",
    endpoints=lambda _: Endpoints(
        base_url="https://api.z.ai/api",
        usage_url="https://api.z.ai/api/monitor/usage/quota/limit",
    ),
    paths={},
    # OpenCode takes ZHIPU_API_KEY for this one and for Zhipu's Chinese platform (`zhipuai`), and
    # nothing tells which of the two hosts a key is for: it is not sent to the wrong one.
    env=("ZAI_API_KEY",),
    opencode_keys=("zai-coding-plan", "zai"),
    opencode_token=lambda _: None,
    kind=lambda _: AccountKind.SUBSCRIPTION,
    opt_in=lambda _: None,
    authorize=lambda credential: (("authorization", f"Bearer {credential.secret.reveal()}"),),
    model_id=lambda model: model,
    usage=_usage,
)
