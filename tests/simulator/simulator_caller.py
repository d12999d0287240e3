"""What a well-behaved client sends to the simulated providers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from core.simulator import Simulator

type Json = dict[str, Any]

PROVIDERS = ("anthropic", "github-copilot")
TOOL: Json = {
    "name": "bash",
    "description": "Runs a command.",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
}
PICTURE: Json = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}


@dataclass
class Clock:
    """A clock that stands still."""

    now: float

    def __call__(self) -> float:
        return self.now


def user(*content: str | Json) -> Json:
    blocks = [{"type": "text", "text": it} if isinstance(it, str) else it for it in content]
    return {"role": "user", "content": blocks}


def assistant(*content: str | Json) -> Json:
    return user(*content) | {"role": "assistant"}


def used(tool_id: str = "toolu_1", name: str = "bash") -> Json:
    return {"type": "tool_use", "id": tool_id, "name": name, "input": {"command": "ls"}}


def result(content: Any = "a file", tool_id: str = "toolu_1") -> Json:
    return {"type": "tool_result", "tool_use_id": tool_id, "content": content}


def body(*messages: Json, **fields: Any) -> Json:
    base = {"max_tokens": 4000, "messages": list(messages) or [user("Hello.")]}
    return base | fields


class Client(httpx.Client):
    @contextmanager
    def stream_from(self, request: httpx.Request) -> Iterator[httpx.Response]:
        """`stream`, for a request that is there already."""
        answer = self.send(request, stream=True)
        try:
            yield answer
        finally:
            answer.close()


class Caller:
    """Sends to either provider, in its own spelling and with the headers that it asks for.

    A header set to None is left out. The model is written with dashes.
    """

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.http = Client(trust_env=False, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def headers(self, provider: str, betas: str = "") -> dict[str, str | None]:
        bearer = f"Bearer {self.sim.tokens[provider]}"
        base = {"content-type": "application/json", "authorization": bearer}
        if provider == "anthropic":
            betas = ",".join(filter(None, ("oauth-2025-04-20", betas)))
            return base | {"anthropic-version": "2023-06-01", "anthropic-beta": betas}
        return base | {
            "anthropic-beta": betas or None,
            "x-initiator": "user",
            "openai-intent": "conversation-edits",
            "x-github-api-version": "2026-06-01",
        }

    def ask(self, provider: str, body: Json, *, betas: str = "", **headers: Any) -> httpx.Response:
        return self.http.send(self.question(provider, body, betas=betas, **headers))

    def question(
        self, provider: str, body: Json | bytes, *, betas: str = "", **headers: Any
    ) -> httpx.Request:
        if isinstance(body, dict):
            model = body.get("model", "claude-sonnet-4-5")
            if provider == "github-copilot" and isinstance(model, str):
                head, _, last = model.rpartition("-")
                model = f"{head}.{last}" if head[-1].isdigit() else model
            body = json.dumps({"model": model} | body | {"model": model}).encode()
        url = self.sim.anthropic_url if provider == "anthropic" else self.sim.copilot_url
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = self.headers(provider, betas) | renamed
        return self.request("POST", f"{url}/v1/messages", fields, body)

    def request(
        self, method: str, url: str, headers: dict[str, str | None], body: bytes = b""
    ) -> httpx.Request:
        request = self.http.build_request(method, url, content=body or None)
        for name, value in headers.items():
            if value is None:
                request.headers.pop(name, None)
            else:
                request.headers[name] = value
        return request

    def get(self, url: str, **headers: str | None) -> httpx.Response:
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.send(self.request("GET", url, renamed))


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    """Status, type or code, and message."""
    error = response.json()["error"]
    return response.status_code, error.get("type") or error.get("code"), error["message"]


def events(text: str) -> list[Json]:
    """The data of server-sent events."""
    return [
        json.loads(line.removeprefix("data: "))
        for line in text.splitlines()
        if line.startswith("data: ")
    ]
