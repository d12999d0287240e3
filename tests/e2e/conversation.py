"""A client that replays all it was ever answered, as OpenCode does to a virtual model."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
from mitm import VIRTUAL, Routing

from core.simulator import Fault

MANUAL = {"type": "enabled", "budget_tokens": 1024}
BETA = "thinking-binding-controls-2026-08-01"
TOOL = {"name": "look", "input_schema": {"type": "object"}}
CALL = "[call look {}]"
"""A simulated model does what it is told."""


def post(
    client: httpx.Client, messages: list[Any], *, stream: bool, pin: str | None = None, **more: Any
) -> httpx.Response:
    """One request of the conversation; `pin` is the one provider that it is for."""
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4000,
        "thinking": MANUAL,
        "tools": [TOOL],
        "stream": stream,
        "messages": messages,
        **more,
    }
    headers = {"anthropic-version": "2023-06-01", "x-session-id": "ses_1", "anthropic-beta": BETA}
    headers |= {"x-limit-router-provider": pin} if pin else {}
    return client.post(f"{VIRTUAL}/v1/messages", json=body, headers=headers)


def say(
    routing: Routing, messages: list[Any], text: Any, *, stream: bool, **more: Any
) -> dict[str, Any]:
    """Ask, and add the question and the answer to the messages; returns what the answer is."""
    messages.append({"role": "user", "content": text})
    with routing.client() as client:
        answer = post(client, messages, stream=stream, **more)
    assert answer.status_code == 200, answer.text
    content = streamed(answer.text) if stream else answer.json()["content"]
    messages.append({"role": "assistant", "content": content})
    return {
        "provider": answer.headers["x-limit-router-provider"],
        "kinds": [block["type"] for block in content],
        "attempts": answer.headers["x-limit-router-attempts"],
    }


def tool_said(messages: list[Any], then: str | None = None) -> list[dict[str, Any]]:
    """The result of the tool that the last message calls, and what to do `then`."""
    call = messages[-1]["content"][-1]["id"]
    words = [] if then is None else [{"type": "text", "text": then}]
    return [{"type": "tool_result", "tool_use_id": call, "content": "x"}, *words]


def streamed(text: str) -> list[dict[str, Any]]:
    """The content that the events build up."""
    content: list[dict[str, Any]] = []
    for line in text.splitlines():
        event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
        match event.get("type"):
            case "content_block_start":
                content.append(dict(event["content_block"]))
            case "content_block_delta":
                delta = event["delta"]
                for key in ("text", "thinking", "signature"):
                    if key in delta:
                        content[-1][key] = content[-1].get(key, "") + delta[key]
                if "partial_json" in delta:
                    content[-1]["json"] = content[-1].get("json", "") + delta["partial_json"]
    for block in content:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block.pop("json", "{}"))
    return content


def spent(provider: str, reset: float) -> Fault:
    """Its next answer says that its account is spent until then: the next request goes elsewhere."""
    if provider == "anthropic":
        prefix = "anthropic-ratelimit-unified-5h"
        headers = {f"{prefix}-utilization": "1.0", f"{prefix}-reset": f"{reset:.0f}"}
    else:
        moment = datetime.fromtimestamp(reset, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        headers = {"x-quota-snapshot-premium_interactions": f"ent=300&rem=0.0&rst={moment}"}
    return Fault(provider, headers=headers)
