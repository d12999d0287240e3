from dataclasses import replace

import pytest

from core.model import Account, AccountKind, Speed, Tokens
from core.observe import Observation
from core.speeds import STEP, Speeds

NOW = 1_795_000_000.0
ME = Account("example", "me", AccountKind.SUBSCRIPTION)
OTHER = replace(ME, sign_in="other")
ANSWER = Observation(True, NOW + 2.0, Tokens(output=300), None)
"""Its first token came after two seconds, and the rest took three."""


def learned(*answers: Observation, at: float = NOW + 5.0) -> Speed | None:
    speeds = Speeds()
    for seen in answers:
        speeds.learn(ME, "m", NOW, seen, at)
    return speeds.of(ME, "m")


def test_the_first_answer_is_all_that_is_known() -> None:
    assert learned(ANSWER) == Speed(2.0, 100.0, 0.0, NOW + 5.0)


def test_later_ones_move_the_average_and_tell_the_spread() -> None:
    speed = learned(ANSWER, replace(ANSWER, first_content_at=NOW + 4.0))
    assert speed is not None
    assert speed.first_token_s == pytest.approx(2.0 + STEP * 2.0)
    assert speed.spread_s == pytest.approx(STEP * 2.0)
    assert speed.tokens_per_s == pytest.approx(100.0 + STEP * 200.0)


@pytest.mark.parametrize(
    "seen",
    [
        replace(ANSWER, complete=False),
        replace(ANSWER, complete=None),
        replace(ANSWER, first_content_at=None),
        replace(ANSWER, tokens=Tokens(output=3)),
        replace(ANSWER, tokens=Tokens()),
    ],
    ids=["broken", "not read", "not streamed", "too short", "not counted"],
)
def test_what_tells_nothing(seen: Observation) -> None:
    assert learned(seen) is None


def test_a_short_answer_still_tells_of_its_first_token() -> None:
    speed = learned(ANSWER, replace(ANSWER, first_content_at=NOW + 4.0, tokens=Tokens(output=3)))
    assert speed is not None
    assert (speed.first_token_s > 2.0, speed.tokens_per_s) == (True, 100.0)


def test_accounts_and_models_are_told_apart() -> None:
    speeds = Speeds()
    speeds.learn(ME, "m", NOW, ANSWER, NOW + 5.0)
    assert speeds.of(OTHER, "m") is None
    assert speeds.of(ME, "n") is None
