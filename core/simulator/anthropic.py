"""api.anthropic.com: Messages for API keys and subscriptions, a subscription's usage, a key's models."""

import hmac
import re
import secrets
from datetime import UTC, datetime

from core.simulator.answers import Question, Speaker
from core.simulator.binding import Hand, check_replay, unchecked
from core.simulator.body import refuse, turns
from core.simulator.claude import ANTHROPIC_MODELS, anthropic_models
from core.simulator.exchange import Answer, Fields, Json, Kind, Received, Refusal, json_answer
from core.simulator.inference import (
    Rules,
    check_body,
    check_leaks,
    read_body,
    serve,
    take_fault,
    words,
)
from core.simulator.scenario import Meter
from core.simulator.thinking import thinks
from core.simulator.world import ANTHROPIC, ANTHROPIC_KEY, World

_OAUTH_BETA = "oauth-2025-04-20"
_BETA = re.compile(r"[a-z0-9-]+-20\d{2}-\d{2}-\d{2}")
_MAX_BODY = 32 * 1024 * 1024
_POLL_S = 300.0
_WARNING = 80.0
_CLAIMS = {"five_hour": "5h", "seven_day": "7d"}
_RULES = Rules(
    words(
        "cache_control container context_management inference_geo max_tokens mcp_servers messages "
        "metadata model output_config output_format service_tier speed stop_sequences stream system "
        "temperature thinking tool_choice tools top_k top_p"
    ),
    words(
        "allowed_callers cache_control defer_loading description eager_input_streaming "
        "input_examples input_schema name strict type"
    ),
)
_ERRORS = {
    400: ("invalid_request_error", "Invalid request"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your account does not have permission to use this resource."),
    404: ("not_found_error", "Not found"),
    409: ("conflict_error", "The request conflicts with the current state of the resource."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your account's rate limit."),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}


class Anthropic:
    """The host. It knows no other."""

    provider = ANTHROPIC

    def __init__(self, world: World) -> None:
        self.world = world
        self.hosts: set[str] = set()

    def kind(self, received: Received) -> Kind:
        match received.path:
            case "/v1/messages":
                return "inference"
            case "/api/oauth/usage":
                return "usage"
            case "/v1/models":
                return "models"
        return "other"

    def answer(self, received: Received) -> Answer:
        request_id = f"req_{secrets.token_hex(12)}"
        try:
            check_leaks(received, self.hosts)
            return self._route(received, (("request-id", request_id),))
        except Refusal as refusal:
            return _refused(refusal, request_id)

    def _route(self, received: Received, headers: Fields) -> Answer:
        match received.method, received.path:
            case "POST", "/v1/messages":
                return self._infer(received, headers)
            case "GET", "/api/oauth/usage":
                return self._usage(received)
            case "GET", "/v1/models":
                return self._models(received, headers)
        raise Refusal(404, "Not found")

    def _infer(self, received: Received, headers: Fields) -> Answer:
        account = self._account(received)
        betas = _betas(received)
        body = read_body(received)
        version = ANTHROPIC_MODELS.get(body["model"])
        if version is None:
            raise Refusal(404, f"model: {body['model']}")

        hand = Hand(account, body["model"], version, self.world.sign)
        if self.world.simple:
            conversation, replay = turns(body, betas), unchecked(hand)
        else:
            conversation = check_body(body, betas, _RULES, version)
            replay = check_replay(body, conversation, betas, hand)
        fault = take_fault(self.world, ANTHROPIC, stream=body.get("stream", False))
        fields = (*headers, *self._limits(account))
        size, deep = len(received.body), thinks(body, version)
        question = Question(body, conversation, size, deep, replay)
        return serve(self.world, Speaker(ANTHROPIC, ""), question, fields, fault)

    def _account(self, received: Received) -> str:
        """Whose request it is, by its credential."""
        key, bearer = received.header("x-api-key"), received.header("authorization")
        if key is not None and bearer is not None:
            raise Refusal(401, "x-api-key and authorization are both set")
        if key is None:
            self._bearer(received)
            return ANTHROPIC
        if not _same(key, self.world.tokens[ANTHROPIC_KEY]):
            raise Refusal(401, "invalid x-api-key")
        return ANTHROPIC_KEY

    def _bearer(self, received: Received) -> None:
        if not _same(received.header("authorization"), f"Bearer {self.world.tokens[ANTHROPIC]}"):
            raise Refusal(401, "Invalid bearer token")
        if _OAUTH_BETA not in received.listed("anthropic-beta"):
            raise Refusal(401, "OAuth authentication is currently not supported.")

    def _limits(self, account: str) -> Fields:
        """The headers of an answer; an account that is spent gets no other answer than those."""
        shown = self.world.limit_headers_enabled[ANTHROPIC]
        if account == ANTHROPIC_KEY:
            return _key_limits(self.world.clock()) if shown else ()
        meters = self.world.meters(ANTHROPIC)
        limits = _unified(meters) if shown and meters else ()
        spent = [meter.resets_at for meter in meters if meter.spent]
        if spent:
            wait = ("retry-after", str(int(max(spent) - self.world.clock())))
            again = ("x-should-retry", "true")
            raise Refusal(429, "", headers=(*limits, wait, again) if shown else (again,))
        return limits

    def _usage(self, received: Received) -> Answer:
        self._bearer(received)
        if received.header("x-api-key") is not None:
            raise Refusal(401, "x-api-key and authorization are both set")
        if not self.world.usage_enabled[ANTHROPIC]:
            raise Refusal(403, "OAuth token does not meet scope requirement user:profile")
        now = self.world.clock()
        if now - self.world.polls.get(ANTHROPIC, -_POLL_S) < _POLL_S:
            # Without a top-level type, and with a wait that means nothing (seen 2026).
            error = {"message": "Rate limited. Please try again later.", "type": "rate_limit_error"}
            return json_answer(429, {"error": error}, (("retry-after", "0"),))
        self.world.polls[ANTHROPIC] = now
        return json_answer(200, _usage_body(self.world.meters(ANTHROPIC)))

    def _models(self, received: Received, headers: Fields) -> Answer:
        """A page of the list. That a sign-in is answered is not known, so it is not."""
        if not _same(received.header("x-api-key"), self.world.tokens[ANTHROPIC_KEY]):
            raise Refusal(401, "invalid x-api-key")
        _betas(received)
        limit = received.query.get("limit", "20")
        if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_LISTED:
            refuse(f"limit: Input should be between 1 and {_MOST_LISTED}")
        listed = anthropic_models()
        page = listed[: int(limit)]
        told = {"has_more": page != listed, "first_id": page[0]["id"], "last_id": page[-1]["id"]}
        return json_answer(200, {"data": page} | told, headers)


_MOST_LISTED = 1000
_VERSIONS = frozenset({"2023-06-01", "2026-10-21"})
"""The one that is documented, and the one that the official SDK sends since its version 2."""


def _same(one: str | None, other: str) -> bool:
    return hmac.compare_digest((one or "").encode(), other.encode())


def _betas(received: Received) -> frozenset[str]:
    version = received.header("anthropic-version")
    if version is None:
        refuse("anthropic-version: header is required")
    if version not in _VERSIONS:
        refuse(f'anthropic-version: "{version}" is not a valid version')
    if len(received.body) > _MAX_BODY:
        raise Refusal(413, "Request exceeds the maximum size")
    betas = received.listed("anthropic-beta")
    for beta in sorted(betas):
        if not _BETA.fullmatch(beta):
            refuse(f"Unexpected value(s) `{beta}` for the `anthropic-beta` header.")
    return betas


def _refused(refusal: Refusal, request_id: str) -> Answer:
    kind, message = _ERRORS.get(refusal.status, ("api_error", "Internal server error"))
    error = {"type": refusal.error or kind, "message": refusal.message or message}
    body = {"type": "error", "error": error, "request_id": request_id}
    headers = (("request-id", request_id), *refusal.headers)
    return json_answer(refusal.status, body, headers, refusal.fault)


def _status(meter: Meter) -> str:
    if meter.spent:
        return "rejected"
    return "allowed_warning" if meter.used_percent >= _WARNING else "allowed"


def _claim(meter: Meter) -> str:
    return _CLAIMS.get(meter.name, meter.name.replace("seven_day", "7d"))


def _unified(meters: tuple[Meter, ...]) -> Fields:
    binding = max(meters, key=lambda it: it.used_percent)
    fields = {
        "status": _status(binding),
        "reset": str(int(binding.resets_at)),
        "representative-claim": binding.name,
    }
    for meter in meters:
        claim = _claim(meter)
        fields[f"{claim}-status"] = _status(meter)
        fields[f"{claim}-reset"] = str(int(meter.resets_at))
        fields[f"{claim}-utilization"] = str(round(meter.used_percent / 100, 6))
        if meter.spent:
            fields[f"{claim}-surpassed-threshold"] = "1.0"
    fields["fallback-percentage"] = "0.5"
    fields["overage-status"] = "rejected"
    fields["overage-disabled-reason"] = "out_of_credits"
    return tuple((f"anthropic-ratelimit-unified-{key}", value) for key, value in fields.items())


def _key_limits(now: float) -> Fields:
    reset = datetime.fromtimestamp(int(now) + 60, UTC).isoformat().replace("+00:00", "Z")
    limits = {"requests": 4000, "tokens": 4_800_000, "input-tokens": 4_000_000}
    limits["output-tokens"] = 800_000
    return tuple(
        (f"anthropic-ratelimit-{name}-{part}", value)
        for name, limit in limits.items()
        for part, value in (("limit", str(limit)), ("remaining", str(limit - 1)), ("reset", reset))
    )


def _usage_body(meters: tuple[Meter, ...]) -> Json:
    """The flat keys, `limits`, and the many that mean nothing to us."""
    unknown = (
        "seven_day_opus seven_day_sonnet seven_day_oauth_apps iguana_necktie tangelo cinder_cove"
    )
    body: Json = dict.fromkeys(["five_hour", "seven_day", *unknown.split()])
    dollars = {"limit_dollars": None, "used_dollars": None, "remaining_dollars": None}
    for meter in meters:
        figures = {"utilization": round(meter.used_percent, 4), "resets_at": _iso(meter.resets_at)}
        body[meter.name] = figures | dollars | {"locked_reason": None}
    extra = {"is_enabled": False, "monthly_limit": None, "used_credits": None, "utilization": None}
    return body | {
        "extra_usage": extra | {"currency": None, "disabled_reason": "out_of_credits"},
        "limits": [_limit(meter) for meter in meters],
        "spend": {
            "used": None,
            "limit": None,
            "percent": 0,
            "severity": "normal",
            "enabled": False,
        },
        "member_dashboard_available": False,
    }


def _limit(meter: Meter) -> Json:
    group = "session" if meter.name == "five_hour" else "weekly"
    model = meter.name.removeprefix("seven_day").strip("_").title()
    kinds = {"five_hour": "session", "seven_day": "weekly_all"}
    return {
        "kind": kinds.get(meter.name, "weekly_scoped"),
        "group": group,
        "percent": int(meter.used_percent),
        "severity": "critical" if meter.spent else "normal",
        "resets_at": _iso(meter.resets_at),
        "scope": None
        if meter.name in kinds
        else {"model": {"id": None, "display_name": model}, "surface": None},
        "is_active": group == "session",
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
