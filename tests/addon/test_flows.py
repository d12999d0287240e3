"""The register of routed flows: what is at work stays, what is over is bounded."""

import pytest

from addon import flows as module
from addon.flows import Flows, Routed
from core import HttpRequest


def routed(size: int = 0) -> Routed:
    request = HttpRequest("POST", "https", "h", 443, "/", (), b"x" * size)
    return Routed(request, forward=None)


@pytest.fixture
def small(monkeypatch) -> Flows:
    monkeypatch.setattr(module, "KEPT_FLOWS", 3)
    monkeypatch.setattr(module, "KEPT_BYTES", 100)
    return Flows()


def kept(flows: Flows, count: int) -> list[int]:
    return [at for at in range(count) if flows.get(str(at)) is not None]


def test_live_flows_are_never_dropped(small):
    for at in range(10):
        small.add(str(at), routed(90))
    small.end("9")
    assert kept(small, 10) == list(range(10))


def test_of_ended_ones_the_newest_are_kept(small):
    for at in range(10):
        small.add(str(at), routed())
        small.end(str(at))
    assert kept(small, 10) == [7, 8, 9]


def test_the_oldest_go_where_they_are_too_large_together(small):
    for at, size in enumerate((10, 50, 40, 20)):
        small.add(str(at), routed(size))
        small.end(str(at))
    assert kept(small, 4) == [2, 3]


def test_one_that_is_larger_than_all_is_not_kept(small):
    small.add("0", routed(101))
    small.end("0")
    assert small.get("0") is None


def test_an_old_live_one_does_not_count(small):
    small.add("0", routed(1000))
    for at in range(1, 4):
        small.add(str(at), routed(10))
        small.end(str(at))
    assert kept(small, 4) == [0, 1, 2, 3]


def test_a_replay_is_live_again(small):
    small.add("0", routed())
    small.end("0")
    assert not small.get("0").live
    small.add("0", routed())
    assert small.get("0").live


def test_the_end_lets_go_of_the_tap(small):
    entry = routed()
    entry.tap = object()
    small.add("0", entry)
    small.end("0")
    assert entry.tap is None


def test_flows_that_are_not_ours(small):
    assert small.get("0") is None
    small.end("0")
