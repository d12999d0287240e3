"""Decisions of a log, asked again: what the log of a real engine does not hold by itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from evaluation_cases import HOUR, START

from core.evaluation import replay, rules
from core.evaluation.expired import Expired, Expiry
from core.evaluation.replay import Asked, Came, Course, Way, adapted, as_done, asked, by_mode
from core.explain import Telling
from core.model import (
    Account,
    AccountKind,
    Ask,
    Budget,
    Candidate,
    Decision,
    Explanation,
    Mode,
    NoRoute,
    Period,
    Policy,
    Price,
    Refusal,
    Route,
    Source,
    Standing,
    Tokens,
    Verdict,
    Window,
    WindowView,
)
from core.pace import view
from core.record import Attempt, End

WEEK = 7 * 24 * HOUR
FIRST = Account("first", "0123456789ab", AccountKind.SUBSCRIPTION)
SECOND = Account("second", "ba9876543210", AccountKind.SUBSCRIPTION)
PAID = Account("paid", "0a0a0a0a0a0a", AccountKind.METERED)
TOKENS = Tokens(100, 50, 0, 900)


def window(used: float, *, name: str = "week", hours: float = 84.0, **more: object) -> Window:
    return Window(name, used, START + hours * HOUR, WEEK, Source.ENDPOINT, START, **more)


def verdict(account: Account, *windows: Window, **more: object) -> Verdict:
    views = tuple(view(each, START) for each in windows)
    return Verdict(Candidate(account.provider, "large", account, **more), True, None, views, "")


AHEAD, BEHIND = window(80.0), window(20.0)


def attempt(
    chosen: Account | None,
    *verdicts: Verdict,
    at: float = START,
    session: str | None = "s",
    end: End | None = None,
    took: float = 10.0,
    **more: object,
) -> Attempt:
    def explain() -> Explanation:
        return Explanation("", verdicts)

    decision: Decision = NoRoute(Refusal.EXHAUSTED, Telling(explain))
    if chosen is not None:
        candidate = next(v.candidate for v in verdicts if v.candidate.account == chosen)
        decision = Route(candidate, Telling(explain))
    if end is None:
        status = 429 if chosen is None else 200
        end = End(status, at + 1, at + 1, at + took, True, tokens=TOKENS)
    told = {"flags": {}, "standing": None} | more
    return Attempt("r", 1, at, "large", "anthropic-messages", session, decision, end=end, **told)


def one(it: Attempt, *order: str) -> list[Asked]:
    return [asked(it, order or ("first", "second"))]


def mode(name: Mode) -> Way:
    return by_mode(str(name), "", name, lambda _ask, _now: Policy())


def going(*accounts: Account | None) -> Way:
    """Insists on one account after the other, whatever stands against it; None refuses."""
    rest = list(accounts)

    def choose(occasion: replay.Occasion) -> Route | None:
        wanted = rest.pop(0)
        found = (c for c in occasion.asked.candidates if c.account == wanted)
        return None if wanted is None else Route(next(found), lambda: Explanation("", ()))

    return Way("going", "", lambda: choose)


def test_an_ask_is_rebuilt_from_what_is_known_of_it() -> None:
    flags = {"tool_loop": True, "cache_ttl_s": 3600.0, "later": True, "pin": "no figure"}
    it = asked(attempt(FIRST, verdict(FIRST), flags=flags, pin="first"), ())
    assert (it.ask.session, it.ask.model, it.ask.pin) == ("s", "large", "first")
    assert (it.ask.tool_loop, it.ask.subagent, it.ask.cache_ttl_s) == (True, False, 3600.0)
    assert it.conversation == ("large", "s")


def test_candidates_stand_in_the_order_of_the_configuration() -> None:
    it = attempt(FIRST, verdict(FIRST), verdict(PAID), verdict(SECOND))
    names = [c.provider for c in asked(it, ("second", "first")).candidates]
    assert names == ["second", "first", "paid"]


def test_a_budget_is_one_window_and_a_scope_has_been_applied() -> None:
    """Both would count twice, or not at all, in another decision."""
    budget = window(50.0, name="budget")
    family = window(60.0, name="week_family", scope="family")
    it = verdict(PAID, budget, family, budget=Budget(50.0, Period.MONTH))
    found = asked(attempt(PAID, it), ())
    assert found.candidates[0].budget is None
    assert found.windows == {
        PAID.id: {"budget": budget, "week_family": replace(family, scope=None)}
    }


def test_a_rule_chooses_among_those_that_nothing_stands_against() -> None:
    out = replace(verdict(SECOND), candidate=Candidate("second", "large", SECOND, "out of order"))
    nobody = replace(verdict(FIRST), candidate=Candidate("nobody", "large", None, "no credential"))
    course = Course(replay.by_rule(rules.POLICIES["longest"]))
    it = attempt(FIRST, verdict(FIRST, AHEAD), out, nobody)
    assert course.follow(one(it), Came(FIRST.id)) == Came(FIRST.id)
    assert course.follow(one(replace(it, pin="second")), Came(None)) == Came(None)


def test_a_request_that_was_turned_away_goes_on_where_it_really_went() -> None:
    away = End(529, START + 1, None, START + 1, None, "overloaded_error")
    both = (verdict(FIRST, BEHIND), verdict(SECOND, AHEAD))
    request = [
        *one(attempt(FIRST, *both, end=away)),
        *one(attempt(SECOND, *both, at=START + 2)),
    ]
    courses = {
        "done": Course(as_done()),
        "insists": Course(going(FIRST, FIRST)),
        "pace": Course(mode(Mode.PACE)),
        "at once": Course(going(SECOND)),
        "gives up": Course(going(FIRST, None)),
        "without": Course(replace(going(FIRST), failover=False)),
    }
    came = {name: course.follow(request, Came(SECOND.id)) for name, course in courses.items()}
    assert came == {
        "done": Came(SECOND.id),
        "insists": Came(None, turned_away=True),
        "pace": Came(SECOND.id),
        "at once": Came(SECOND.id),
        "gives up": Came(None, turned_away=True),
        "without": Came(None, turned_away=True),
    }


def test_the_same_account_may_be_asked_twice() -> None:
    away = End(400, START + 1, None, START + 1, None, "invalid_request_error")
    here = verdict(FIRST, BEHIND)
    request = [*one(attempt(FIRST, here, end=away)), *one(attempt(FIRST, here, at=START + 2))]
    assert not replay.is_wrong(request)
    assert Course(as_done()).follow(request) == Came(FIRST.id)
    assert Course(mode(Mode.PACE)).follow(request) == Came(FIRST.id)


@pytest.mark.parametrize(
    ("end", "away"),
    [
        (End(), False),
        (End(200, START), False),
        (End(200, START, ended_at=START + 1), False),
        (End(ended_at=START + 1), True),
        (End(429, START, ended_at=START + 1), True),
    ],
)
def test_what_has_no_end_yet_is_not_turned_away(end: End, *, away: bool) -> None:
    assert replay.turned_away(attempt(FIRST, verdict(FIRST), end=end)) is away


def conversation(way: Way, done: Sequence[Account], **more: object) -> Course:
    """A request each minute; the tokens were told as if whoever served had it in the cache."""
    course, truth = Course(way), Course(as_done())
    for number, account in enumerate(done):
        reads = Tokens(100, 50, 900 * number, 900)
        at = START + 60.0 * number
        end = End(200, at + 1, at + 1, at + 10, True, tokens=reads)
        both = (verdict(FIRST, BEHIND), verdict(PAID, price=Price(10.0, 0.0, 1.0, 20.0)))
        request = one(attempt(account, *both, at=at, end=end, **more))
        course.follow(request, truth.follow(request))
    return course


def test_who_stays_keeps_the_cache_that_was_lost() -> None:
    """What was done moved away and back: that wrote the prompt again each time."""
    course = conversation(going(PAID, PAID, PAID), [PAID, FIRST, PAID])
    figures = course.figures
    assert (figures.switches, figures.cache_tokens_lost, figures.elsewhere) == (0, 0, 1)
    # 900 were in the cache, then 1900 (all of the prompt before).
    second = 100 * 10 + 900 * 1 + 900 * 20
    third = 100 * 10 + 1800 * 1 + 900 * 20
    assert figures.cost_usd == pytest.approx((second + third) / 1e6)
    assert figures.unpriced == 1, "the log has no cost of the first, which was as it was"


def test_who_moves_reads_the_prompt_anew() -> None:
    course = conversation(going(FIRST, PAID, PAID), [FIRST, FIRST, FIRST])
    figures = course.figures
    assert (figures.switches, figures.cache_tokens_lost) == (1, 900)
    second = 100 * 10 + 1800 * 20
    third = 100 * 10 + 1800 * 1 + 900 * 20
    assert figures.cost_usd == pytest.approx((second + third) / 1e6)


def test_a_cache_lapses() -> None:
    course = Course(going(FIRST, SECOND))
    both = (verdict(FIRST, BEHIND), verdict(SECOND, AHEAD))
    for at in (START, START + 10 + 300):
        course.follow(one(attempt(FIRST, *both, at=at)), Came(FIRST.id))
    assert (course.figures.switches, course.figures.cache_tokens_lost) == (1, 0)


def test_until_an_answer_begins_its_conversation_is_with_nobody() -> None:
    course = Course(going(FIRST, SECOND, FIRST))
    both = (verdict(FIRST, BEHIND), verdict(SECOND, AHEAD))
    for at in (START, START + 0.5, START + 2):
        course.follow(one(attempt(FIRST, *both, at=at)), Came(FIRST.id))
    assert course.figures.switches == 1, "the last one: the second's answer began last"


def test_an_answer_that_never_came_leaves_nothing() -> None:
    course = Course(going(FIRST, SECOND))
    both = (verdict(FIRST, BEHIND), verdict(SECOND, AHEAD))
    course.follow(one(attempt(FIRST, *both, end=End())))
    course.follow(one(attempt(SECOND, *both, at=START + 60)))
    assert course.figures.switches == 0


def test_a_request_of_no_conversation_has_what_the_log_says() -> None:
    course = Course(going(SECOND, SECOND))
    both = (verdict(FIRST, BEHIND), verdict(SECOND, AHEAD))
    held = Standing(FIRST.id, 500, START + HOUR)
    for _ in range(2):
        course.follow(one(attempt(FIRST, *both, session=None, standing=held)))
    assert (course.figures.switches, course.figures.cache_tokens_lost) == (2, 1000)


def test_a_conversation_that_a_policy_refused_is_with_nobody() -> None:
    """That it really was with somebody by then is another course."""
    course = Course(going(None, SECOND))
    both = (verdict(FIRST, BEHIND), verdict(SECOND, AHEAD))
    course.follow(one(attempt(FIRST, *both)), Came(FIRST.id))
    held = Standing(FIRST.id, 900, START + HOUR)
    course.follow(one(attempt(FIRST, *both, at=START + 60, standing=held)), Came(FIRST.id))
    assert (course.figures.refused, course.figures.switches) == (1, 0)


def test_sub_agents_spread_over_the_accounts_that_a_policy_chose() -> None:
    even = (verdict(FIRST, BEHIND), verdict(SECOND, BEHIND))
    found = []
    course = Course(mode(Mode.PACE))
    for number in range(4):
        flags = {"subagent": True}
        took = 100.0 if number < 3 else 1.0
        it = attempt(FIRST, *even, at=START + number, session=str(number), flags=flags, took=took)
        found.append(course.follow(one(it), Came(FIRST.id)).account)
    assert found == [FIRST.id, SECOND.id, FIRST.id, SECOND.id]
    later = attempt(FIRST, *even, at=START + 200, session="5", flags={"subagent": True})
    assert course.follow(one(later), Came(FIRST.id)).account == FIRST.id


def test_what_is_not_known_is_explored_once_in_a_while() -> None:
    course, found = Course(mode(Mode.PACE)), []
    for minutes in (0, 10, 29, 31):
        it = attempt(
            FIRST,
            verdict(FIRST, BEHIND),
            verdict(SECOND),
            at=START + 60.0 * minutes,
            session=str(minutes),
        )
        found.append(course.follow(one(it), Came(FIRST.id)).account)
    assert found == [SECOND.id, FIRST.id, FIRST.id, SECOND.id]


def test_the_answer_that_came_tells_what_a_request_takes() -> None:
    """Not the one that refused it."""
    price = Price(10.0, 10.0, 10.0, 10.0)
    away = End(529, START + 1, None, START + 1)
    both = (verdict(FIRST), verdict(SECOND), verdict(PAID, price=price))
    request = [*one(attempt(FIRST, *both, end=away)), *one(attempt(SECOND, *both))]
    course = Course(going(PAID))
    course.follow(request, Came(SECOND.id))
    assert course.figures.cost_usd == pytest.approx(1050 * 10 / 1e6)
    refused = Course(going(PAID))
    refused.follow(request[:1], Came(None))
    assert (refused.figures.cost_usd, refused.figures.unpriced) == (0.0, 1)
    unpriced = Course(going(PAID))
    unpriced.follow(one(attempt(FIRST, verdict(FIRST), verdict(PAID))), Came(FIRST.id))
    assert (unpriced.figures.cost_usd, unpriced.figures.unpriced) == (0.0, 1)


@pytest.mark.parametrize(
    ("tokens", "cached", "found"),
    [
        (Tokens(100, 50, 900, 0), 0, Tokens(100, 50, 0, 900)),
        (Tokens(100, 50, 0, 900), 600, Tokens(100, 50, 600, 300)),
        (Tokens(100, 50, 0, 900), 950, Tokens(50, 50, 950, 0)),
        (Tokens(100, 50, 0, 900), 5000, Tokens(0, 50, 1000, 0)),
        (Tokens(100, 50, 900, None), 0, Tokens(1000, 50, 0, None)),
        (Tokens(100, 50, None, None), 60, Tokens(40, 50, 60, None)),
        (Tokens(), 60, Tokens(0, None, 0, None)),
    ],
)
def test_a_prompt_is_as_long_whatever_of_it_is_cached(
    tokens: Tokens, cached: int, found: Tokens
) -> None:
    assert adapted(tokens, cached) == found


# What expired


def seen(*looks: tuple[float, Verdict]) -> Callable[[float], list[Expired]]:
    expiry = Expiry()
    for hours, it in looks:
        expiry.look([it], START + hours * HOUR)
    return lambda hours: list(expiry.found(START + hours * HOUR))


def test_the_last_figure_of_each_run_counts() -> None:
    found = seen(
        (0, verdict(FIRST, window(20.0))),
        (80, verdict(FIRST, window(70.0, hours=84.01))),
        (90, verdict(FIRST, window(5.0, hours=252.0))),
    )
    assert found(100) == [Expired("first", FIRST.id, "week", (30.0,))]
    assert found(252) == [Expired("first", FIRST.id, "week", (30.0, 95.0))]
    assert found(252)[0].windows == 1.25
    assert found(80) == []


def test_a_window_that_nobody_began_does_not_expire() -> None:
    """Its reset goes with the clock, which would look like one run after the other."""
    waits = [(hours, verdict(FIRST, window(0.0, hours=hours + 168.0))) for hours in (0, 100, 200)]
    assert seen(*waits)(1000) == []
    runs = seen((0, verdict(FIRST, window(0.0, hours=150.0))))
    assert runs(150) == [Expired("first", FIRST.id, "week", (100.0,))]


@pytest.mark.parametrize(
    "verdict",
    [
        verdict(PAID, window(20.0)),
        verdict(FIRST, window(20.0, scope="family")),
        verdict(FIRST),
        replace(verdict(FIRST), candidate=Candidate("nobody", "large", None)),
        replace(
            verdict(FIRST),
            windows=(WindowView(replace(window(20.0), resets_at=None), None, None),),
        ),
        replace(
            verdict(FIRST),
            windows=(WindowView(replace(window(20.0), duration_s=None), None, None),),
        ),
    ],
    ids=["paid", "of a family", "unknown", "no account", "no reset", "no length"],
)
def test_what_cannot_expire_or_is_not_known_to(verdict: Verdict) -> None:
    assert seen((0, verdict))(1000) == []


def test_more_than_all_is_none_left() -> None:
    assert seen((0, verdict(FIRST, window(130.0))))(84)[0].unused_percent == (0.0,)


def test_the_longest_window_carries_the_value() -> None:
    short = replace(window(90.0, name="five_hour"), duration_s=5 * HOUR)
    [found] = seen((0, verdict(FIRST, short, window(40.0))))(84)
    assert (found.window, found.unused_percent) == ("week", (60.0,))


def test_the_ask_of_a_mode_is_told_its_own_policy() -> None:
    told: list[tuple[Ask, float]] = []

    def policy(ask: Ask, now: float) -> Policy:
        told.append((ask, now))
        return Policy(pin="second")

    course = Course(by_mode("configured", "", None, policy))
    request = one(attempt(FIRST, verdict(FIRST, BEHIND), verdict(SECOND, AHEAD)))
    assert course.follow(request, Came(FIRST.id)) == Came(SECOND.id)
    assert told == [(request[0].ask, START)]
