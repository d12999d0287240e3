"""api.githubcopilot.com: Messages and the model list. api.github.com: a seat's usage."""

import hmac
import secrets
from datetime import UTC, datetime
from urllib.parse import urlencode

from core.simulator.answers import Question, Speaker
from core.simulator.binding import Hand, check_replay, unchecked
from core.simulator.body import Turn, nested, refuse, turns
from core.simulator.claude import dotted_version
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
from core.simulator.scenario import Meter, month_bounds
from core.simulator.thinking import INTERLEAVED_BETA, asked_kind, thinks
from core.simulator.tools import check_history_has_tools, check_no_dialect, check_no_scope
from core.simulator.world import COPILOT, World

_ENTITLEMENT = 7000
_WIRE = "/v1/messages"
# What OpenCode 1.18 and VS Code (2026-08) send there.
_BETAS = frozenset(
    {
        INTERLEAVED_BETA,
        "advanced-tool-use-2025-11-20",
        "context-management-2025-06-27",
        "extended-cache-ttl-2025-04-11",
        "mid-conversation-system-2026-04-07",
        "pdfs-2024-09-25",
        "structured-outputs-2025-11-13",
        "thinking-binding-controls-2026-08-01",
    }
)
_RULES = Rules(
    words(
        "cache_control context_management max_tokens messages metadata model output_config "
        "service_tier stop_sequences stream system temperature thinking tool_choice tools top_k "
        "top_p"
    ),
    words(
        "allowed_callers cache_control defer_loading description input_examples input_schema name "
        "strict type"
    ),
)
_ERRORS = {
    400: ("invalid_request_body", "invalid request body"),
    401: ("unauthorized", "unauthorized: token expired or invalid"),
    402: ("quota_exceeded", "You have no quota"),
    403: ("forbidden", "access denied"),
    404: ("not_found", "not found"),
    413: ("request_too_large", "failed to parse request: too large"),
    422: ("content_filter", "The response was filtered."),
    429: ("rate_limited", "Sorry, you have been rate-limited. Please wait a moment."),
    466: ("client_unsupported", "This client is no longer supported."),
    503: ("upstream_provider_rate_limit", "The upstream provider is rate-limiting requests."),
    529: ("model_overloaded", "The model is overloaded."),
}


class Copilot:
    """The inference host."""

    provider = COPILOT

    def __init__(self, world: World) -> None:
        self.world = world
        self.hosts: set[str] = set()

    def kind(self, received: Received) -> Kind:
        match received.path:
            case "/v1/messages":
                return "inference"
            case "/models":
                return "models"
        return "other"

    def answer(self, received: Received) -> Answer:
        ids = (("x-request-id", secrets.token_hex(16)),)
        try:
            check_leaks(received, self.hosts)
            return self._route(received, ids)
        except Refusal as refusal:
            return _refused(refusal, ids)

    def _route(self, received: Received, ids: Fields) -> Answer:
        match received.method, received.path:
            case "POST", "/v1/messages":
                return self._infer(received, ids)
            case "GET", "/models":
                self._check_client(received)
                listing = {"data": self.world.copilot_models, "object": "list"}
                return json_answer(200, listing, ids)
        raise Refusal(404, "not found")

    def _infer(self, received: Received, headers: Fields) -> Answer:
        self._check_client(received)
        initiator = received.header("x-initiator")
        if initiator not in ("user", "agent"):
            refuse(f"invalid x-initiator header: {initiator}")
        if not received.header("openai-intent"):
            refuse("missing required Openai-Intent header")
        body = read_body(received)
        self._check_model(body["model"])
        version = dotted_version(body["model"])
        hand = Hand(f"{COPILOT}/{body['model']}", body["model"], version, self.world.sign)
        if self.world.simple:
            conversation, replay = turns(body, _BETAS), unchecked(hand)
        else:
            conversation = _check(received, body)
            betas = received.listed("anthropic-beta")
            replay = check_replay(body, conversation, betas, hand)
        fault = take_fault(self.world, COPILOT, stream=body.get("stream", False))
        fields = (*headers, *self._limits())
        size, deep = len(received.body), thinks(body, version)
        question = Question(body, conversation, size, deep, replay)
        return serve(self.world, Speaker(COPILOT, "vrtx_"), question, fields, fault)

    def _check_client(self, received: Received) -> None:
        if received.header("x-api-key") is not None:
            raise Refusal(401, "unauthorized: x-api-key is not a Copilot credential")
        if not _bears(received, "bearer", self.world.tokens[COPILOT]):
            raise Refusal(401, "unauthorized: token expired or invalid")
        if not received.header("user-agent"):
            raise Refusal(403, "access denied: User-Agent is required")
        if not received.header("x-github-api-version"):
            refuse("missing required X-GitHub-Api-Version header")

    def _check_model(self, model: str) -> None:
        listed = next((it for it in self.world.copilot_models if it["id"] == model), None)
        if listed is None:
            raise Refusal(400, "The requested model is not supported.", "model_not_supported")
        if listed.get("policy", {}).get("state", "enabled") != "enabled":
            raise Refusal(403, "The requested model is disabled by a policy.", "model_disabled")
        if _WIRE not in listed.get("supported_endpoints", ()):
            reason = f'model "{model}" is not accessible via the {_WIRE} endpoint'
            raise Refusal(400, reason, "unsupported_api_for_model")

    def _limits(self) -> Fields:
        """The headers of an answer; a spent month gets no other answer than those."""
        meters = self.world.meters(COPILOT)
        shown = self.world.limit_headers_enabled[COPILOT]
        limits = tuple(_snapshot(meter) for meter in meters) if shown else ()
        if any(meter.spent for meter in meters):
            raise Refusal(402, "You have no quota", "quota_exceeded", limits)
        return limits


class GitHub:
    """The usage host."""

    provider = COPILOT

    def __init__(self, world: World) -> None:
        self.world = world
        self.hosts: set[str] = set()

    def kind(self, received: Received) -> Kind:
        return "usage" if received.path == "/copilot_internal/user" else "other"

    def answer(self, received: Received) -> Answer:
        try:
            check_leaks(received, self.hosts)
            self._check(received)
        except Refusal as refusal:
            told = {"message": refusal.message, "status": str(refusal.status)}
            link = {"documentation_url": "https://docs.github.com/rest"}
            return json_answer(refusal.status, told | link)
        return json_answer(200, _usage_body(self.world.meters(COPILOT), self.world.clock()))

    def _check(self, received: Received) -> None:
        if not received.header("user-agent"):
            raise Refusal(403, "Request forbidden by administrative rules (User-Agent).")
        if (received.method, received.path) != ("GET", "/copilot_internal/user"):
            raise Refusal(404, "Not Found")
        token = self.world.tokens[COPILOT]
        bears = _bears(received, "bearer", token) or _bears(received, "token", token)
        if not bears or received.header("x-api-key") is not None:
            raise Refusal(401, "Bad credentials")
        if not self.world.usage_enabled[COPILOT]:
            raise Refusal(404, "Not Found")


def _bears(received: Received, scheme: str, token: str) -> bool:
    word, _, value = (received.header("authorization") or "").partition(" ")
    return word.lower() == scheme and hmac.compare_digest(value.encode(), token.encode())


def _check(received: Received, body: Json) -> list[Turn]:
    betas = received.listed("anthropic-beta")
    unexpected = set(betas - _BETAS)
    if asked_kind(body) == "adaptive":
        unexpected |= betas & {INTERLEAVED_BETA}
    if unexpected:
        values = ", ".join(f"`{it}`" for it in sorted(unexpected))
        refuse(f"Unexpected value(s) {values} for the `anthropic-beta` header.")
    conversation = check_body(body, betas, _RULES, dotted_version(body["model"]))
    check_no_scope(body, conversation)
    check_no_dialect(body)
    check_history_has_tools(body, conversation)
    if conversation[-1].role == "assistant":
        refuse(
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )
    pictures = any(it.type == "image" for turn in conversation for it in nested(turn.blocks))
    vision = received.header("copilot-vision-request")
    if pictures and vision != "true":
        refuse("missing required Copilot-Vision-Request header for vision requests")
    if vision is not None and not pictures:
        refuse("unexpected Copilot-Vision-Request header: there is no image")
    return conversation


def _refused(refusal: Refusal, ids: Fields) -> Answer:
    code, message = _ERRORS.get(refusal.status, ("internal_error", "Internal server error"))
    error = {"message": refusal.message or message, "code": refusal.error or code}
    return json_answer(refusal.status, {"error": error}, (*ids, *refusal.headers), refusal.fault)


def _zulu(at: float, timespec: str = "seconds") -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def _remaining(meter: Meter) -> float:
    return round(100 - meter.used_percent, 4)


def _snapshot(meter: Meter) -> tuple[str, str]:
    value = urlencode(
        {
            "ent": _ENTITLEMENT,
            "ov": "0.0",
            "ovPerm": "false",
            "rem": _remaining(meter),
            "rst": _zulu(meter.resets_at),
        }
    )
    return "x-quota-snapshot-premium_interactions", value


def _usage_body(meters: tuple[Meter, ...], now: float) -> Json:
    unlimited = {"entitlement": 0, "remaining": 0, "percent_remaining": 100.0, "unlimited": True}
    none_over = {"overage_count": 0, "overage_permitted": False}
    snapshots: Json = {
        it: {"quota_id": it} | unlimited | none_over for it in ("chat", "completions")
    }
    for meter in meters:
        left = _ENTITLEMENT * _remaining(meter) / 100
        snapshots["premium_interactions"] = none_over | {
            "quota_id": "premium_interactions",
            "entitlement": _ENTITLEMENT,
            "remaining": int(left),
            "quota_remaining": round(left, 1),
            "percent_remaining": _remaining(meter),
            "unlimited": False,
            "token_based_billing": True,
            "credits_used": round(_ENTITLEMENT - left, 1),
            "quota_reset_at": int(meter.resets_at),
            "timestamp_utc": _zulu(now, "milliseconds"),
        }
    reset = month_bounds(now)[1]
    return {
        "login": "octo",
        "copilot_plan": "individual_pro",
        "access_type_sku": "plus_monthly_subscriber_quota",
        "assigned_date": "2025-01-01T00:00:00Z",
        "chat_enabled": True,
        "organization_list": [],
        "endpoints": {"api": "https://api.individual.githubcopilot.com"},
        "quota_reset_date": _zulu(reset)[:10],
        "quota_reset_date_utc": _zulu(reset, "milliseconds"),
        "token_based_billing": True,
        "quota_snapshots": snapshots,
    }
