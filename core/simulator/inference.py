"""What the two providers' inference endpoints have in common, from leaks to the answer."""

from dataclasses import dataclass

from core.simulator import answers
from core.simulator.body import (
    Turn,
    check_fields,
    check_nested,
    check_required,
    check_tool_turns,
    parse,
    refuse,
    turns,
)
from core.simulator.claude import Version
from core.simulator.exchange import Answer, Fault, Fields, Json, Received, Refusal, json_answer
from core.simulator.thinking import check_loop, check_thinking
from core.simulator.tools import check_tools
from core.simulator.world import World

# Real providers ignore most of these. Here they are refused, so that a test sees a leak.
_NEVER = frozenset(
    {
        "api-key",
        "chatgpt-account-id",
        "cookie",
        "openai-organization",
        "openai-project",
        "proxy-authorization",
        "proxy-connection",
        "x-goog-api-key",
    }
)
_OURS = "x-limit-router-"
_CONTEXT_BETA = "context-management-2025-06-27"
_IN_STREAM = {
    "overloaded_error": (529, "Overloaded"),
    "rate_limit_error": (429, "This request would exceed your account's rate limit."),
    "timeout_error": (504, "Request timed out"),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """Which fields a provider's Messages endpoint knows."""

    top_level: frozenset[str]
    tool_fields: frozenset[str]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def check_leaks(received: Received, hosts: set[str]) -> None:
    """Refuses what only another host, a proxy or the router should ever have been sent."""
    for name, _ in received.headers:
        if name.lower() in _NEVER or name.lower().startswith(_OURS):
            refuse(f"unexpected header: {name.lower()}")
    host = received.header("host")
    if host not in hosts:
        refuse(f"unexpected header: host is {host}, not {' or '.join(sorted(hosts))}")
    if "key" in received.query:
        refuse("unexpected query parameter: key")


def read_body(received: Received) -> Json:
    """The body as JSON with the fields that every request has."""
    content_type = (received.header("content-type") or "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        refuse("content-type: must be application/json")
    if received.header("content-encoding") not in (None, "identity"):
        refuse("content-encoding: compressed requests are not supported")
    body = parse(received.body)
    check_required(body)
    return body


def check_body(body: Json, betas: frozenset[str], rules: Rules, version: Version) -> list[Turn]:
    """All that both providers ask of a body, the thoughts in it aside.

    Returns the conversation, which is not empty.
    """
    check_fields(body, rules.top_level)
    if "context_management" in body and _CONTEXT_BETA not in betas:
        refuse("context_management: Extra inputs are not permitted")
    check_thinking(body, betas, version)
    check_tools(body, rules.tool_fields)
    conversation = turns(body, betas)
    check_tool_turns(conversation)
    check_nested(body, conversation)
    check_loop(body, conversation)
    return conversation


def take_fault(world: World, provider: str, *, stream: bool) -> Fault | None:
    """The fault that is due, raised where it is an answer of its own."""
    fault = world.take_fault(provider)
    if fault is None:
        return None
    status, message = fault.status, fault.message
    error = fault.error
    if fault.in_stream_error is not None and not stream:
        status, message = _IN_STREAM.get(fault.in_stream_error, (500, "Internal server error"))
        error = fault.in_stream_error
    if status:
        refusal = Refusal(status, message, error, tuple(fault.headers.items()))
        refusal.fault = fault
        raise refusal
    return fault


def serve(
    world: World,
    speaker: answers.Speaker,
    question: answers.Question,
    headers: Fields,
    fault: Fault | None,
) -> Answer:
    """The answer to a request that is in order. `headers` are the provider's own."""
    fields = _overridden(headers, fault)
    if fault is not None and fault.in_stream_error is not None:
        return _stream(fields, (_error_event(fault),), fault)
    message = answers.compose(speaker, question)
    world.spend(speaker.provider)
    if question.body.get("stream"):
        return _stream(fields, answers.stream(message), fault)
    return json_answer(200, message, fields, fault)


def _stream(fields: Fields, events: tuple[bytes, ...], fault: Fault | None) -> Answer:
    kind = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
    return Answer(200, (*kind, *fields), events, stream=True, fault=fault)


def _error_event(fault: Fault) -> bytes:
    kind = fault.in_stream_error or "api_error"
    message = fault.message or _IN_STREAM.get(kind, (500, "Internal server error"))[1]
    return answers.error_event({"type": "error", "error": {"type": kind, "message": message}})


def _overridden(headers: Fields, fault: Fault | None) -> Fields:
    if fault is None:
        return headers
    own = {name.lower() for name in fault.headers}
    return (*(it for it in headers if it[0].lower() not in own), *fault.headers.items())
