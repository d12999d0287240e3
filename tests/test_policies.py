import os
import time
from collections.abc import Iterator

import pytest

from core import config, policies
from core.errors import RequestError
from core.model import Ask, Mode, Policy, Unknown, Wire

NOW = 1_795_000_000.0
ASK = Ask(Wire.MESSAGES, "m")
MODEL = "models: {m: {providers: [anthropic, github-copilot]%s}}\n"


def policy(more: str = "", model: str = "", pin: str | None = None) -> Policy:
    read = config.parse(MODEL % model + more, "mitm.yaml", ["anthropic", "github-copilot"])
    return policies.of(read, Ask(Wire.MESSAGES, "m", pin=pin), NOW)


def test_nothing_said_is_the_default() -> None:
    assert policy() == Policy()


def test_what_is_said_is_taken() -> None:
    said = policy(
        "policy: {mode: {pace: 3, fastest: 1}, unknown: last, metered: by_budget, stickiness: none}"
    )
    assert said == Policy(
        {Mode.PACE: 3.0, Mode.FASTEST: 1.0}, Unknown.LAST, metered_by_budget=True, sticky=False
    )


def test_the_model_comes_before_the_policy_and_the_client_before_both() -> None:
    own = ", mode: drain, pin: anthropic"
    assert policy("policy: {mode: cheapest}", own).weights == {Mode.DRAIN: 1.0}
    assert policy(model=own).pin == "anthropic"
    assert policy(model=own, pin="github-copilot").pin == "github-copilot"


def test_a_pin_on_another_provider_is_told() -> None:
    with pytest.raises(RequestError) as refused:
        policy(pin="openrouter")
    assert (refused.value.status, str(refused.value)) == (
        400,
        (
            "x-limit-router-provider names none of this model's providers, which are "
            "anthropic, github-copilot"
        ),
    )


@pytest.fixture
def berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_working_hours_are_local() -> None:
    schedule = policy("policy: {schedule: mon 9-17}").schedule
    assert schedule is not None
    assert (schedule.spans, schedule.utc_offset_s) == (((9 * 3600.0, 17 * 3600.0),), 3600.0)
