"""OpenCode Go, a subscription. PROVIDERS A.7, C.7."""

from collections.abc import Mapping

from core.errors import UsageError
from core.model import AccountKind, Credential, HttpResponse, Source, Usage, Window
from core.provider import Endpoints, Provider, UsageFlow, get
from core.reading import (
    DAY,
    HOUR,
    event_object,
    json_object,
    mapping,
    moment,
    month_before,
    number,
)

WINDOWS: Mapping[str, tuple[str, float | None]] = {
    "rolling": ("five_hour", 5 * HOUR),
    "weekly": ("seven_day", 7 * DAY),
    # As long as the calendar says.
    "monthly": ("month", None),
}


def _usage(url: str, _: Credential, now: float) -> UsageFlow:
    response = yield get(url, (("accept", "application/json"),))
    if _has_no_plan(response):
        raise UsageError("the key has no OpenCode Go subscription")
    usage = json_object(response, "the usage endpoint").get("usage")
    if not isinstance(usage, dict):
        raise UsageError("the usage endpoint answered an object without a usage")
    windows = (_window(word, mapping(usage.get(word)), now) for word in WINDOWS)
    return Usage(tuple(window for window in windows if window is not None))


def _has_no_plan(response: HttpResponse) -> bool:
    error = mapping(event_object(response.body).get("error"))
    return response.status == 403 and error.get("type") == "EntitlementError"  # noqa: PLR2004


def _window(word: str, entry: Mapping[str, object], now: float) -> Window | None:
    used = number(entry.get("percent"))
    if entry.get("status") == "rate-limited":
        used = max(used or 0.0, 100.0)
    if used is None:
        return None
    name, duration = WINDOWS[word]
    resets_at = moment(entry.get("resetsAt"))
    if duration is None and resets_at is not None:
        duration = month_before(resets_at)
    return Window(name, used, resets_at, duration, Source.ENDPOINT, now)


PROVIDER = Provider(
    id="opencode-go",
    name="OpenCode Go",
    endpoints=lambda _: Endpoints(
        base_url="https://opencode.ai/zen/go", usage_url="https://opencode.ai/zen/go/v1/usage"
    ),
    paths={},
    # OpenCode takes one variable and one kind of key for Zen and for Go. Read as Go's too, the
    # key of somebody who has no Go would be asked about for ever: Go wants to be named.
    env=("OPENCODE_GO_API_KEY",),
    opencode_keys=("opencode-go",),
    opencode_token=lambda _: None,
    kind=lambda _: AccountKind.SUBSCRIPTION,
    opt_in=lambda _: None,
    authorize=lambda credential: (("authorization", f"Bearer {credential.secret.reveal()}"),),
    model_id=lambda model: model,
    usage=_usage,
)
