"""OpenRouter, prepaid credits. PROVIDERS A.4, B.5.

Answers carry no limits: the `x-ratelimit-*` of its own 429 are requests per minute, no quota.
"""

from collections.abc import Callable, Mapping

from core.errors import UsageError
from core.model import AccountKind, Credential, Period, Source, Usage, Window
from core.provider import Endpoints, Provider, UsageFlow, get
from core.reading import (
    DAY,
    day_end,
    json_object,
    mapping,
    month_before,
    month_end,
    number,
    week_end,
)

PERIODS: Mapping[str, tuple[Callable[[float], float], float | None]] = {
    "daily": (day_end, DAY),
    "weekly": (week_end, 7 * DAY),
    # As long as the calendar says.
    "monthly": (month_end, None),
}
"""When each ends after a given time, and its length."""
SPENT: Mapping[str, Period] = {
    "usage_daily": Period.DAY,
    "usage_weekly": Period.WEEK,
    "usage_monthly": Period.MONTH,
}


def _usage(url: str, _: Credential, now: float) -> UsageFlow:
    body = json_object((yield get(url, (("accept", "application/json"),))), "the usage endpoint")
    if "data" not in body:
        raise UsageError("the usage endpoint answered an object without a key")
    key = mapping(body["data"])
    budget = _budget(key, now)
    windows = () if budget is None else (budget,)
    return Usage(windows, _plan(key.get("is_free_tier")), _spent(key))


def _spent(key: Mapping[str, object]) -> Mapping[Period, float]:
    """Credits are US dollars. What goes to keys of one's own (`byok_usage`) is not paid here."""
    told = {per: number(key.get(name)) for name, per in SPENT.items()}
    return {per: usd for per, usd in told.items() if usd is not None and usd >= 0.0}


def _budget(key: Mapping[str, object], now: float) -> Window | None:
    """What the key may spend. A `limit` of null is no cap, and not endless credit: unknown."""
    limit, left = number(key.get("limit")), number(key.get("limit_remaining"))
    if limit is None or limit <= 0.0 or left is None:
        return None
    used = number(100.0 - 100.0 * (left / limit))
    if used is None:
        return None
    reset = key.get("limit_reset")
    if not isinstance(reset, str) or reset not in PERIODS:
        return Window("budget", used, None, None, Source.ENDPOINT, now)
    end, duration = PERIODS[reset]
    resets_at = end(now)
    length = duration or month_before(resets_at)
    return Window("budget", used, resets_at, length, Source.ENDPOINT, now)


def _plan(free_tier: object) -> str | None:
    if not isinstance(free_tier, bool):
        return None
    return "free tier" if free_tier else "pay as you go"


PROVIDER = Provider(
    id="openrouter",
    name="OpenRouter",
    endpoints=lambda _: Endpoints(
        base_url="https://openrouter.ai/api", usage_url="https://openrouter.ai/api/v1/key"
    ),
    paths={},
    env=("OPENROUTER_API_KEY",),
    opencode_keys=("openrouter",),
    opencode_token=lambda _: None,
    kind=lambda _: AccountKind.METERED,
    opt_in=lambda _: None,
    authorize=lambda credential: (("authorization", f"Bearer {credential.secret.reveal()}"),),
    model_id=lambda model: model,
    usage=_usage,
)
