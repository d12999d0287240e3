"""The decision log: what was decided, and how it went, for `limit-router why` and others.

Whoever tells it waits for nothing: one thread writes, from a bounded queue.
"""

import logging
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Condition, Thread, current_thread
from typing import Any

from core.errors import StateError
from core.historyfile import FILE_NAME, HistoryFile, Limits
from core.model import Ask, Decision, HttpResponse, Standing
from core.observe import Observation
from core.record import Answered, Decided, Ended, Event, columns

HEADER = "x-limit-router-request"
WAITING = 2000
"""Events. A decision in the queue holds some kilobytes."""
LINGER_S = 0.05
"""The request goes first: the thread begins when it is on its way, and writes several at once."""
RETRY_S = 30.0
CLOSE_S = 2.0
"""A stop of the proxy, or a reload, waits no longer for the disk."""

log = logging.getLogger(__name__)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 18
_ID_LENGTH = 12


class History:
    """The log of one process. It never blocks and never raises: what cannot be kept is counted."""

    def __init__(
        self,
        folder: Path | None,
        limits: Limits | None = None,
        *,
        waiting: int = WAITING,
        retry_s: float = RETRY_S,
    ) -> None:
        """None for a folder keeps nothing."""
        self._folder = folder
        self._limits = limits
        self._most = waiting
        self._retry_s = retry_s
        self._news = Condition()
        self._waiting: deque[Event] = deque()
        self._closing = False
        self._thread: Thread | None = None
        self._lost = 0
        self._failing = False
        self._last_id = 0

    @property
    def path(self) -> Path | None:
        return None if self._folder is None else self._folder / FILE_NAME

    # What is told

    def decided(
        self,
        ask: Ask,
        decision: Decision,
        standing: Standing | None,
        now: float,
        *,
        request: str | None = None,
        attempt: int = 1,
    ) -> str:
        """A decision was made, for a new request or once more for one. Returns the request's id."""
        request = request or self._new_id(now)
        self._tell(Decided(request, attempt, now, ask, decision, standing))
        return request

    def answered(self, request: str, status: int, now: float, attempt: int = 1) -> None:
        self._tell(Answered(request, attempt, now, status))

    def ended(
        self,
        request: str,
        seen: Observation | None,
        now: float,
        *,
        attempt: int = 1,
        cost_usd: float | None = None,
    ) -> None:
        """It is over. None was seen where no answer came."""
        self._tell(Ended(request, attempt, now, seen, cost_usd))

    def refused(self, request: str, answer: HttpResponse, now: float) -> HttpResponse:
        """We answer it ourselves: the answer, with the id in it."""
        self.answered(request, answer.status, now)
        self._tell(Ended(request, 1, now, None, sent=False))
        return replace(answer, headers=(*answer.headers, (HEADER, request)))

    def close(self, timeout: float = CLOSE_S) -> None:
        """Write what waits and let the thread go; what is told afterwards starts another."""
        with self._news:
            thread, self._closing = self._thread, self._thread is not None
            self._news.notify_all()
        if thread is not None:
            thread.join(timeout)

    def _new_id(self, now: float) -> str:
        """Of the time and of chance: later ones sort later, and processes do not meet."""
        moment = int(max(now, 0.0) * 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        number = self._last_id = max(moment, self._last_id + 1)
        places = range(5 * (_ID_LENGTH - 1), -1, -5)
        return "".join([_ALPHABET[number >> place & 31] for place in places])

    def _tell(self, event: Event) -> None:
        if self._folder is None:
            return
        with self._news:
            if len(self._waiting) >= self._most:
                self._lost += 1
                return
            self._waiting.append(event)
            if self._thread is None:
                # A daemon: the interpreter's end waits for no disk.
                self._thread = Thread(target=self._run, name="limit-router history", daemon=True)
                self._thread.start()
            elif len(self._waiting) == 1:
                self._news.notify_all()

    # The thread

    def _run(self) -> None:
        assert self._folder is not None
        file = HistoryFile(self._folder, self._limits)
        try:
            while not self._is_over():
                while taken := self._take():
                    self._keep(file, taken)
                file.close()
        finally:
            file.close()
            with self._news:
                if self._thread is current_thread():
                    # Only a bug comes here. The next event starts another thread.
                    self._thread, self._closing = None, False

    def _is_over(self) -> bool:
        with self._news:
            if not self._closing or self._waiting:
                return False
            self._thread, self._closing = None, False
            return True

    def _take(self) -> list[Event]:
        """All that waits, once something does; nothing when it is time to close."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._closing)
            self._news.wait_for(lambda: self._closing, LINGER_S)
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def _keep(self, file: HistoryFile, taken: Sequence[Event]) -> None:
        """Until it is written. When it is time to close it is tried once more."""
        rows = [columns(event) for event in taken]
        while not self._is_written(file, rows, taken[-1].at):
            with self._news:
                closing = self._news.wait_for(lambda: self._closing, self._retry_s)
            if closing:
                if not self._is_written(file, rows, taken[-1].at):
                    self._lost += len(rows)
                return

    def _is_written(self, file: HistoryFile, rows: list[dict[str, Any]], now: float) -> bool:
        try:
            file.write(rows, now)
        except StateError as error:
            if not self._failing:
                log.warning("limit-router does not keep its decisions for now: %s", error)
            self._failing = True
            return False
        if self._failing:
            log.info("limit-router keeps its decisions again")
        self._failing = False
        with self._news:
            lost, self._lost = self._lost, 0
        if lost:
            notes = f"{lost} note{' was' if lost == 1 else 's were'}"
            log.warning("limit-router: %s not kept in the log of decisions", notes)
        return True
