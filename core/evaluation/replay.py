"""What policies would have decided, request by request of the decision log, and what came of it.

The windows are as they were: those that the real course led to, not those that a policy itself
would have caused. Where a request went to somebody whom it never met, it counts as served.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count

from core import budget, routing
from core.catalog import Tariff
from core.evaluation import rules
from core.evaluation.rules import Situation
from core.model import (
    Account,
    AccountKind,
    AccountState,
    Ask,
    Candidate,
    Explanation,
    Mode,
    Policy,
    Route,
    Standing,
    State,
    Tokens,
    Window,
)
from core.nouns import rebuilt
from core.record import Attempt

type Conversation = tuple[str, str]
"""The model and the session: a session may use several models."""

BAD_REQUEST = 400
"""What is wrong with the request itself, whoever answers it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One decision of the log, as it can be asked again."""

    attempt: Attempt
    ask: Ask
    candidates: tuple[Candidate, ...]
    """In the configuration's order."""
    windows: Mapping[str, Mapping[str, Window]]
    """What was known of each account then, by its id."""

    @property
    def conversation(self) -> Conversation | None:
        session = self.ask.session
        return None if session is None else (self.ask.model, session)


def asked(attempt: Attempt, order: Sequence[str]) -> Asked:
    """`order` are the ids of the model's providers; those that it does not name come last."""
    verdicts = attempt.decision.verdicts
    told = {"wire": attempt.wire, "model": attempt.model, "session": attempt.session}
    figures = {name: value for name, value in attempt.flags.items() if _is_figure(value)}
    places = {provider: place for place, provider in enumerate(order)}
    # A budget stands among the windows already.
    candidates = [replace(verdict.candidate, budget=None) for verdict in verdicts]
    candidates.sort(key=lambda it: places.get(it.provider, len(places)))
    windows = {
        # Only those that bind the model were kept: as such they need no scope.
        account.id: {view.window.name: replace(view.window, scope=None) for view in verdict.windows}
        for verdict in verdicts
        if (account := verdict.candidate.account) is not None
    }
    ask: Ask = rebuilt(Ask, {**figures, **told, "pin": attempt.pin})
    return Asked(attempt, ask, tuple(candidates), windows)


def _is_figure(value: object) -> bool:
    return isinstance(value, bool | int | float)


@dataclass(frozen=True, slots=True)
class Occasion:
    """All that a way may go by."""

    asked: Asked
    candidates: Sequence[Candidate]
    """Without those that have turned the request away."""
    state: State
    standing: Standing | None

    @property
    def now(self) -> float:
        return self.asked.attempt.at


type Choose = Callable[[Occasion], Route | None]
"""None refuses the request."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to choose. `begin` makes one for one course: it may remember."""

    name: str
    summary: str
    begin: Callable[[], Choose]
    failover: bool = True
    """A request that an account turned away is decided again, where it was."""


def as_done() -> Way:
    """What was really decided, to be counted like the others."""
    return Way("as done", "what was really decided", lambda: _done)


def _done(occasion: Occasion) -> Route | None:
    decision = occasion.asked.attempt.decision
    return decision if isinstance(decision, Route) else None


def by_mode(
    name: str, summary: str, mode: Mode | None, policy: Callable[[Ask, float], Policy]
) -> Way:
    """The router's own decision; without a mode by that which the policy has for the model."""

    def choose(occasion: Occasion) -> Route | None:
        ask, now = occasion.asked.ask, occasion.now
        found = policy(ask, now)
        if mode is not None:
            found = replace(found, weights={mode: 1.0})
        decision = routing.decide(
            ask, occasion.candidates, occasion.state, now, found, standing=occasion.standing
        )
        return decision if isinstance(decision, Route) else None

    return Way(name, summary, lambda: choose)


def by_rule(rule: rules.Policy) -> Way:
    """A simple rule, among the candidates that nothing but a window stands against."""

    def begin() -> Choose:
        ruled = rule.begin()

        def choose(occasion: Occasion) -> Route | None:
            pin, held, now = occasion.asked.ask.pin, occasion.standing, occasion.now
            able = [
                it
                for it in occasion.candidates
                if it.account is not None and it.problem is None and pin in (None, it.provider)
            ]
            chosen = ruled(
                Situation(
                    occasion.asked.ask,
                    able,
                    occasion.state,
                    now,
                    incumbent=None if held is None else held.account,
                    cached=0 if held is None or held.cached_until <= now else held.cached_tokens,
                    cached_until=0.0 if held is None else held.cached_until,
                )
            )
            return None if chosen is None else Route(chosen, lambda: Explanation(rule.summary, ()))

        return choose

    return Way(rule.name, rule.summary, begin, rule.failover)


@dataclass(slots=True)
class Figures:
    """What came of a course. Counts, tokens and dollars."""

    served: int = 0
    refused: int = 0
    turned_away: int = 0
    """Of those refused: by accounts that are known to have turned the request away."""
    elsewhere: int = 0
    """Requests of which something else became than in truth: another account, or none."""
    switches: int = 0
    """A conversation was served by another account than before, whatever the reason."""
    switches_in_tool_loop: int = 0
    cache_tokens_lost: int = 0
    """What prompt caches still held at switches: the next account reads it anew."""
    cost_usd: float = 0.0
    """Of pay-per-token accounts."""
    unpriced: int = 0
    """Requests to such accounts whose cost is not known, and not in it."""


@dataclass(frozen=True, slots=True)
class Came:
    """What became of a request in one course."""

    account: str | None
    """None was refused."""
    warm: bool = False
    """The account had the conversation in its prompt cache."""
    turned_away: bool = False
    """An account refused it, not the router."""


@dataclass(order=True, frozen=True, slots=True)
class _Later:
    """What a conversation will have with an account, once its answer begins or ends."""

    at: float
    serial: int
    conversation: Conversation = field(compare=False)
    standing: Standing = field(compare=False)


class Course:
    """One way through the log, from request to request."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.figures = Figures()
        self._choose = way.begin()
        self._standings: dict[Conversation, Standing | None] = {}
        self._to_come: list[_Later] = []
        self._serial = count()
        self._under_way: list[tuple[float, str]] = []
        """When each request ended that was sent, and the account's id."""
        self._explored_at: dict[str, float] = {}

    def follow(self, request: Sequence[Asked], done: Came | None = None) -> Came:
        """One request with all its attempts. `done` is what became of it in truth, if told."""
        came = self._serve(request, done)
        self.figures.served += came.account is not None
        self.figures.refused += came.account is None
        self.figures.turned_away += came.turned_away
        self.figures.elsewhere += done is not None and came.account != done.account
        return came

    def _serve(self, request: Sequence[Asked], done: Came | None) -> Came:
        met = {_account(it).id: it for it in request if isinstance(it.attempt.decision, Route)}
        rejected: set[str] = set()
        for it in request:
            standing = self._standing(it)
            route = self._choose(self._occasion(it, standing, rejected))
            if route is None or route.account.id in rejected:
                break
            account = route.account
            if route.explores:
                self._explored_at[account.id] = it.attempt.at
            answered = met.get(account.id)
            if answered is None or not turned_away(answered.attempt):
                return self._served(it, route, standing, answered or _told(request), done)
            rejected.add(account.id)
            if not self.way.failover:
                break
        return Came(None, turned_away=bool(rejected))

    def _standing(self, it: Asked) -> Standing | None:
        """Of a conversation that began before the log did, what it had then."""
        now = it.attempt.at
        while self._to_come and self._to_come[0].at <= now:
            later = heappop(self._to_come)
            self._learn(later.conversation, later.standing)
        if it.conversation is None:
            return it.attempt.standing
        # What the log holds of it later on is the real course's.
        return self._standings.setdefault(it.conversation, it.attempt.standing)

    def _learn(self, conversation: Conversation, standing: Standing) -> None:
        """An answer that only begins says nothing of the cache, and takes nothing from it."""
        held = self._standings.get(conversation)
        same = held is not None and held.account == standing.account
        if not same or standing.cached_tokens:
            self._standings[conversation] = standing

    def _occasion(self, it: Asked, standing: Standing | None, rejected: set[str]) -> Occasion:
        now = it.attempt.at
        self._under_way = [each for each in self._under_way if each[0] > now]
        busy = [account for _, account in self._under_way]
        accounts = {
            account: AccountState(
                windows,
                in_flight=(now,) * busy.count(account),
                explored_at=self._explored_at.get(account),
            )
            for account, windows in it.windows.items()
        }
        left = [c for c in it.candidates if c.account is None or c.account.id not in rejected]
        return Occasion(it, left, State(accounts), standing)

    def _served(
        self,
        it: Asked,
        route: Route,
        standing: Standing | None,
        answered: Asked,
        done: Came | None,
    ) -> Came:
        """`answered` is the attempt whose answer tells what the request took."""
        now, account, end = it.attempt.at, route.account, answered.attempt.end
        figures = self.figures
        cached = 0
        if standing is not None and standing.cached_until > now:
            cached = standing.cached_tokens
        moved = standing is not None and standing.account != account.id
        if moved:
            figures.switches += 1
            figures.switches_in_tool_loop += it.ask.tool_loop
            figures.cache_tokens_lost += cached
        warm = cached > 0 and not moved
        as_it_was = done is None or done.warm == warm
        tokens = end.tokens if as_it_was else adapted(end.tokens, cached if warm else 0)
        if account.kind is AccountKind.METERED:
            same = as_it_was and _account(answered) == account
            cost = end.cost_usd if same else _cost(route.candidate, tokens)
            figures.cost_usd += cost or 0.0
            figures.unpriced += cost is None
        self._remember(it, account, answered, tokens)
        return Came(account.id, warm)

    def _remember(self, it: Asked, account: Account, answered: Asked, tokens: Tokens) -> None:
        began, ended = answered.attempt.end.answered_at, answered.attempt.end.ended_at
        if ended is not None:
            self._under_way.append((ended, account.id))
        begun = ended if began is None else began
        if it.conversation is None or begun is None:
            return
        first = _Later(begun, next(self._serial), it.conversation, Standing(account.id))
        heappush(self._to_come, first)
        cached = (tokens.cache_read or 0) + (tokens.cache_write or 0)
        if ended is not None and cached:
            kept = Standing(account.id, cached, ended + it.ask.cache_ttl_s)
            heappush(self._to_come, _Later(ended, next(self._serial), it.conversation, kept))


def _account(it: Asked) -> Account:
    decision = it.attempt.decision
    assert isinstance(decision, Route)
    return decision.account


def _told(request: Sequence[Asked]) -> Asked:
    """The attempt that tells most of what the request took."""
    answered = [it for it in request if not turned_away(it.attempt)]
    return answered[-1] if answered else request[-1]


def turned_away(attempt: Attempt) -> bool:
    """Whether the account is known not to have served it. What has no end yet may be served."""
    end = attempt.end
    return end.ended_at is not None if end.status is None else end.status >= BAD_REQUEST


def is_wrong(request: Sequence[Asked]) -> bool:
    """Whether something was the matter with the request itself: no policy makes that better."""
    return request[-1].attempt.end.status == BAD_REQUEST


def adapted(tokens: Tokens, cached: int) -> Tokens:
    """What an answer would have taken whose prompt has so many tokens in the cache."""
    read, written = tokens.cache_read or 0, tokens.cache_write or 0
    prompt = (tokens.input or 0) + read + written
    found = min(cached, prompt)
    if tokens.cache_write is None:
        # An account that does not tell what it writes to the cache, or writes without being told.
        return replace(tokens, input=prompt - found, cache_read=found)
    fresh = min(tokens.input or 0, prompt - found)
    return replace(tokens, input=fresh, cache_read=found, cache_write=prompt - found - fresh)


def _cost(candidate: Candidate, tokens: Tokens) -> float | None:
    """None where the price, or what the answer took, is not known."""
    if candidate.price is None or tokens == Tokens():
        return None
    return budget.charge(Tariff(candidate.price), candidate.provider_model, tokens).usd
