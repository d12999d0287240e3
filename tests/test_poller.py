from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import providers
from core.model import (
    Account,
    AccountKind,
    AccountState,
    Credential,
    CredentialType,
    Secret,
    State,
)
from core.poller import (
    LONGEST_BACKOFF,
    LONGEST_WAIT,
    Job,
    Question,
    Subject,
    after_failure,
    after_reading,
    schedule,
)

NOW = 1_795_000_000.0
DAY = 86400.0
ANTHROPIC, COPILOT = providers.known()["anthropic"], providers.known()["github-copilot"]


def subject(provider: str, kind: CredentialType = CredentialType.OAUTH) -> Subject:
    value = providers.known()[provider]
    credential = Credential(kind, Secret("t"), "TEST", "me")
    account = Account(provider, "me", AccountKind.SUBSCRIPTION)
    return Subject(account, value, credential, "https://base.example", "https://usage.example/u")


CLAUDE, SEAT, KEY = (
    subject("anthropic"),
    subject("github-copilot"),
    subject("anthropic", CredentialType.API),
)
CLAUDE_USAGE = Job(CLAUDE, Question.USAGE)
KEY_MODELS = Job(KEY, Question.MODELS)
SEAT_USAGE, SEAT_MODELS = Job(SEAT, Question.USAGE), Job(SEAT, Question.MODELS)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (CLAUDE, {Question.USAGE}),
        (SEAT, {Question.USAGE, Question.MODELS}),
        (KEY, {Question.MODELS}),
        (replace(CLAUDE, usage_url=None), set()),
        (replace(CLAUDE, provider=replace(ANTHROPIC, usage=None)), set()),
        (replace(SEAT, provider=replace(COPILOT, models=None)), {Question.USAGE}),
    ],
)
def test_what_an_account_can_be_asked(asked: Subject, expected: set[Question]) -> None:
    assert {question for question in Question if asked.has(question)} == expected


def known(claude: AccountState | None = None, seat: AccountState | None = None) -> State:
    both = {CLAUDE.account.id: claude, SEAT.account.id: seat}
    return State({name: it for name, it in both.items() if it is not None})


DUE = {
    "all at once, where nothing is known": (
        known(),
        {},
        [(0.0, CLAUDE_USAGE), (0.0, SEAT_USAGE), (0.0, SEAT_MODELS)],
    ),
    "soonest first": (
        known(
            AccountState(poll_after=NOW + 300),
            AccountState(poll_after=NOW + 200, models_at=NOW + 100 - DAY),
        ),
        {},
        [(NOW + 100, SEAT_MODELS), (NOW + 200, SEAT_USAGE), (NOW + 300, CLAUDE_USAGE)],
    ),
    "what was read from headers alone is asked for": (
        known(AccountState(plan="pro"), AccountState(poll_after=NOW, models_at=NOW)),
        {},
        [(0.0, CLAUDE_USAGE), (NOW, SEAT_USAGE), (NOW + DAY, SEAT_MODELS)],
    ),
    "a list that failed is left alone": (
        known(AccountState(poll_after=NOW), AccountState(poll_after=NOW)),
        {SEAT.account.id: NOW + 60, "another": NOW + 99},
        [(NOW, CLAUDE_USAGE), (NOW, SEAT_USAGE), (NOW + 60, SEAT_MODELS)],
    ),
    "also one that was read before": (
        known(AccountState(poll_after=NOW), AccountState(poll_after=NOW, models_at=NOW - 2 * DAY)),
        {SEAT.account.id: NOW + 60},
        [(NOW, CLAUDE_USAGE), (NOW, SEAT_USAGE), (NOW + 60, SEAT_MODELS)],
    ),
}


@pytest.mark.parametrize("case", DUE)
def test_what_is_due_and_when(case: str) -> None:
    state, lists_after, expected = DUE[case]
    assert schedule([CLAUDE, SEAT], state, lists_after) == expected


def test_a_key_is_asked_for_its_models_alone() -> None:
    assert schedule([KEY], known(), {}) == [(0.0, KEY_MODELS)]


def test_without_accounts_nothing_is_due() -> None:
    assert schedule([], known(AccountState()), {}) == []


@pytest.mark.parametrize(("jitter", "wait"), [(0.0, 300.0), (0.5, 330.0), (1.0, 360.0)])
def test_jitter_only_lengthens(jitter: float, wait: float) -> None:
    assert after_reading(ANTHROPIC, NOW, jitter=jitter) == NOW + wait


@pytest.mark.parametrize(
    ("failures", "retry_after", "wait"),
    [
        (0, None, 300),
        (1, None, 600),
        (2, None, 1200),
        (3, None, 2400),
        (4, None, 3600),
        (5, None, 3600),
        (10**9, None, 3600),
        (0, 60.0, 300),
        (0, 1600.0, 1600),
        (4, 1600.0, 3600),
        (4, 7200.0, 7200),
        (0, 1e300, LONGEST_WAIT),
    ],
)
def test_back_off(failures: int, retry_after: float | None, wait: float) -> None:
    state = AccountState(failures=failures)
    assert after_failure(ANTHROPIC, state, NOW, retry_after) == NOW + wait


def test_a_provider_asked_seldom_is_not_asked_oftener_after_a_failure() -> None:
    daily = replace(ANTHROPIC, usage_interval_s=DAY)
    assert after_failure(daily, AccountState(failures=3), NOW, None) == NOW + DAY


@given(st.integers(0, 2**31), st.none() | st.floats(0, 1e12), st.floats(0, 1), st.floats(1, 1e6))
def test_never_sooner_than_the_interval(
    failures: int, retry_after: float | None, jitter: float, interval: float
) -> None:
    provider = replace(ANTHROPIC, usage_interval_s=interval)
    wait = after_failure(provider, AccountState(failures=failures), 0.0, retry_after)
    assert interval <= wait <= max(interval, LONGEST_BACKOFF, LONGEST_WAIT)
    assert interval <= after_reading(provider, 0.0, jitter=jitter) <= interval * 1.2
