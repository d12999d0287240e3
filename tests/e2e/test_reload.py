"""The script is saved while the proxy works: routing goes on, on open connections too."""

import os
import shutil
from pathlib import Path

import pytest
from mitm import READY, REPOSITORY, ask, question

from core.simulator import Fault


@pytest.fixture
def copied(tmp_path) -> Path:
    """The router in a copy of the repository."""
    for name in ("addon", "core"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, tmp_path / "copy" / name, ignore=ignored)
    shutil.copy(REPOSITORY / "mitm.yaml", tmp_path / "copy")
    return tmp_path / "copy" / "addon" / "router.py"


def touch(script: Path, age: int) -> None:
    """Newer by so many seconds than it was, whatever the clock's steps are."""
    stat = script.stat()
    os.utime(script, (stat.st_atime, stat.st_mtime + age))


def test_routing_goes_on(start, copied):
    routing = start("under-pace", router=copied)
    with routing.client() as client:
        ask(client)
        for count in (2, 3):
            touch(copied, 1)
            routing.proxy.wait_for(READY, times=count)
            ask(client).raise_for_status()
            with routing.client() as another:
                answer = ask(another)
            assert answer.headers["x-limit-router-provider"] == "anthropic"
        connected = routing.proxy.log.count("client connect")
    assert len(routing.served()) == 5
    assert connected == 3
    assert "rror" not in routing.proxy.log


def test_a_stream_outlives_it(start, copied):
    routing = start("under-pace", router=copied)
    routing.sim.inject(Fault("anthropic", hold_after_events=1))
    with (
        routing.client() as client,
        client.stream(
            "POST", "https://limit-router.invalid/v1/messages", json=question(stream=True)
        ) as answer,
    ):
        chunks = answer.iter_raw()
        received = next(chunks)
        touch(copied, 1)
        routing.proxy.wait_for(READY, times=2)
        routing.sim.release()
        received += b"".join(chunks)
    assert received == routing.served_one().response


def test_a_broken_script_routes_nothing_and_its_repair_does(start, copied):
    """While it is broken nothing is sent anywhere; requests for the virtual host just fail."""
    good = copied.read_text()
    routing = start("under-pace", router=copied)
    copied.write_text("this is not Python")
    touch(copied, 2)
    routing.proxy.wait_for("error in script")
    with routing.client() as client:
        answer = ask(client)
    assert answer.status_code == 502
    assert routing.served() == []
    copied.write_text(good)
    touch(copied, 4)
    routing.proxy.wait_for(READY, times=2)
    with routing.client() as client:
        assert ask(client).status_code == 200
