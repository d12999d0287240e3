"""An event loop whose time is a figure: it runs on at once to when the next timer falls due."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, override

START = 1_783_000_000.0


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: where there is nothing to be read, the time to be waited has passed."""

    passed = 0.0

    @override
    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            assert timeout is not None, "nobody will ever wake this loop"
            self.passed += max(timeout, 0.0)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """What is to be done in a thread is done at once: no time passes over a file."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    @override
    def time(self) -> float:
        return self._virtual.passed

    def now(self) -> float:
        """Epoch seconds, for whoever wants a clock."""
        return START + self._virtual.passed

    @override
    def run_in_executor[T](  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *arguments: Any
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*arguments))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            done.set_exception(error)
        return done


def run(main: Callable[[Callable[[], float]], Coroutine[Any, Any, None]]) -> None:
    """Run it with a clock that agrees with the loop."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main(loop.now))
