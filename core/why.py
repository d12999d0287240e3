"""`limit-router why`: finds a decision in the log and has it shown. Prints nothing."""

from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from core import historyfile, record, report_why
from core.engine import Engine
from core.errors import StateError

LAST = "last"


@dataclass(frozen=True, slots=True)
class Found:
    as_json: dict[str, Any]
    shown: RenderableType


def run(engine: Engine, wanted: str) -> Found:
    """The decision of the request whose id begins so. Raises StateError."""
    path = engine.history.path
    assert path is not None
    rows = historyfile.find(path, None if wanted == LAST else wanted.lower())
    try:
        attempts = [record.attempt(row) for row in rows]
    except ValueError:
        problem = f"the decision {rows[0]['request']} in it is damaged"
    else:
        shown = report_why.why(attempts, engine.clock())
        return Found(report_why.why_json(attempts), shown)
    raise StateError(str(path), problem)
