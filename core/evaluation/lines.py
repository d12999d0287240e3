"""Workloads and logs as JSON lines: one request a line, so that others can recompute the figures."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from core.evaluation.case import EvaluationError
from core.evaluation.drive import Served
from core.evaluation.workload import Request


class _Line(msgspec.Struct, frozen=True):
    """A log is a workload, too: who served it then does not matter."""

    at: float
    session: str
    model: str
    tokens: int
    context: int = 0
    tool_loop: bool = False
    parent: str | None = None


def read(path: Path) -> tuple[Request, ...]:
    """The requests of a file, in the order of time. Raises EvaluationError, which names the line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from None
    found = [_request(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise EvaluationError(f"{path} holds no request")
    return tuple(sorted(found, key=lambda it: it.at))


def _request(path: Path, number: int, line: bytes) -> Request:
    try:
        it = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path}, line {number}: {error}") from None
    if it.tokens <= 0:
        raise EvaluationError(f"{path}, line {number}: a request takes tokens, not {it.tokens}")
    return Request(it.at, it.session, it.model, it.tokens, it.context, it.tool_loop, it.parent)


def write(path: Path, log: Iterable[Served]) -> None:
    """Raises EvaluationError where the file cannot be written."""
    try:
        path.write_bytes(b"".join(msgspec.json.encode(line(it)) + b"\n" for it in log))
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from None


def line(it: Served) -> dict[str, Any]:
    request = it.request
    return {
        "at": request.at,
        "session": request.session,
        "model": request.model,
        "tokens": request.tokens,
        "account": it.account,
        "served": it.account is not None,
        "context": request.context,
        "tool_loop": request.tool_loop,
        "parent": request.parent,
    }
