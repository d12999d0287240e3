"""Two processes that renew one sign-in, and one that is killed: real ones, and an endpoint as strict
as the providers' own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from refresh_process import Counting, kind, renew

from core import providers
from core.credentials import Credentials
from core.simulator import Fault, Simulator

BESIDE = {"type": "api", "key": "k", "metadata": {"x": 1.5}}
FILES = {"auth.json", "auth.json.limit-router.json", "auth.json.limit-router.lock"}
SAFE = "after replace staged by auth.json.limit-router.tmp #1"


class Process:
    """Does what it is told in a child of its own each time."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("refresh_process.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=script.parents[1],
            env={"PYTHONPATH": str(script.parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.said() == "ready"

    def order(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def said(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def order_and_kill(self, when: Callable[[], object], **order: Any) -> None:
        """Ends the child once that is so."""
        self.order(tell=True, **order)
        child = self.said()
        deadline = time.monotonic() + 20
        while not when():
            assert time.monotonic() < deadline
            time.sleep(0.005)  # another process tells nobody of its progress
        os.kill(child, signal.SIGKILL)
        assert self.said() == -signal.SIGKILL

    def stop(self) -> None:
        self.process.communicate()


@pytest.fixture
def process() -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def start() -> Process:
        started.append(Process())
        return started[-1]

    yield start
    for each in started:
        each.stop()
        assert each.process.returncode == 0


def signed_in(sim: Simulator, provider: str, folder: Path) -> Path:
    """An auth.json whose sign-in expires now, beside another and with fields nobody knows."""
    file = folder / "opencode" / "auth.json"
    file.parent.mkdir(parents=True)
    key = "openai" if provider == "chatgpt" else provider
    tokens = {"access": "acc-OLD", "refresh": sim.refresh_tokens[provider]}
    found = {"other": BESIDE, key: {"type": "oauth", "expires": 1000, "unknown": [1], **tokens}}
    file.write_text(json.dumps(found))
    return file


@pytest.mark.parametrize("provider", ["chatgpt", "anthropic"])
def test_of_two_processes_that_start_together_one_asks_and_both_have_the_new_token(
    tmp_path: Path, process: Callable[[], Process], provider: str
) -> None:
    with Simulator() as sim:
        sim.inject(Fault(provider="tokens", delay_s=0.2))
        file = signed_in(sim, provider, tmp_path)
        urls = {provider: sim.token_url(provider)}
        both = [process(), process()]
        for each in both:
            each.order(folder=str(tmp_path), urls=urls, old="acc-OLD")
        tokens = [each.said() for each in both]
        assert [each.said() for each in both] == [0, 0]
        assert [it.status for it in sim.requests] == [200]
    key = "openai" if provider == "chatgpt" else provider
    entry = json.loads(file.read_text())[key]
    assert tokens == [entry["access"]] * 2
    assert entry["refresh"] == sim.refresh_tokens[provider]


def test_a_process_that_is_killed_at_any_step_leaves_one_whole_pair(
    tmp_path: Path, process: Callable[[], Process]
) -> None:
    worker = process()
    with Simulator() as sim:
        steps = steps_of(sim, tmp_path / "steps")
        left: dict[str, str] = {}
        for number, step in enumerate(steps):
            folder = tmp_path / str(number)
            file = signed_in(sim, "chatgpt", folder)
            old = json.loads(file.read_text())
            urls = {"chatgpt": sim.token_url("chatgpt")}
            worker.order(folder=str(folder), urls=urls, end=step)
            assert worker.said() == -signal.SIGKILL, step
            found = json.loads(file.read_text())
            was_asked = sim.refresh_tokens["chatgpt"] != old["openai"]["refresh"]
            left[step] = pair(found, old, sim.refresh_tokens["chatgpt"])
            assert was_asked == (steps.index("after the response #1") <= number), step
            left[step] += f", then {recovered(folder, sim)}"
    told = list(left.values())
    response, safe = (
        steps.index("after the response #1"),
        steps.index("after replace staged by auth.json.limit-router.tmp #1"),
    )
    replaced = steps.index("after replace auth.json by staged #1")
    assert set(told[:response]) == {"the old pair, then renewed"}
    # The one gap: the provider has made new tokens, and they are not on disk.
    assert set(told[response:safe]) == {"the old pair, then signed out"}
    assert set(told[safe:replaced]) == {"the old pair, then renewed"}
    assert set(told[replaced:]) == {"the new pair, then renewed"}


def test_a_process_that_is_killed_while_it_waits_for_its_answer_leaves_the_old_pair(
    tmp_path: Path, process: Callable[[], Process]
) -> None:
    with Simulator() as sim:
        sim.inject(Fault(provider="tokens", delay_s=60))
        file = signed_in(sim, "chatgpt", tmp_path)
        before = file.read_bytes()
        urls = {"chatgpt": sim.token_url("chatgpt")}
        worker = process()
        worker.order_and_kill(lambda: sim.requests, folder=str(tmp_path), urls=urls)
        sim.release()
        assert file.read_bytes() == before
        assert recovered(tmp_path, sim) == "signed out"


def steps_of(sim: Simulator, folder: Path) -> list[str]:
    """All steps that renewing takes, in order."""
    signed_in(sim, "chatgpt", folder)
    counting = Counting(None)
    renew(folder, {"chatgpt": sim.token_url("chatgpt")}, counting)
    assert len(counting.seen) > 30
    return counting.seen


def pair(found: dict[str, Any], old: dict[str, Any], refresh: str) -> str:
    """Which tokens a file holds. Anything else in it is what it was."""
    if found == old:
        return "the old pair"
    new = found["openai"]
    assert new["refresh"] == refresh
    assert new["access"].startswith("eyJ")
    assert new["expires"] > 1_700_000_000_000
    tokens = {name: new[name] for name in ("access", "refresh", "expires", "accountId")}
    assert found == old | {"openai": old["openai"] | tokens}
    return "the new pair"


def recovered(folder: Path, sim: Simulator) -> str:
    """What the next process makes of it."""
    renew(folder, {"chatgpt": sim.token_url("chatgpt")}, Counting(None))
    credentials = Credentials({}, folder)
    credential = credentials.get(providers.known()["chatgpt"])
    assert credential is not None
    names = {kind(it) for it in (folder / "opencode").iterdir()}
    assert names <= FILES, names
    if credentials.is_signed_out(credential):
        return "signed out"
    assert credential.refresh is not None
    assert credential.refresh.reveal() == sim.refresh_tokens["chatgpt"]
    return "renewed"
