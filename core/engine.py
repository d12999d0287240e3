"""Puts the parts together. The one reader of the clock; everything below is told the time."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address, ip_address

from core import continuity, notices, policies, providers, routing, wires
from core import match as matching
from core.accounts import Accounts
from core.candidates import Candidates
from core.catalogfile import CatalogFile
from core.config import Config
from core.configfile import ConfigFile, kept
from core.continuity import Conversations, Maker
from core.credentials import Credentials
from core.demand import Usual
from core.dispatch import Dispatch
from core.errors import ConfigError, RequestError
from core.history import History
from core.knowledge import Knowledge
from core.match import Matched
from core.model import (
    Account,
    Ask,
    Candidate,
    Decision,
    Headers,
    HttpRequest,
    HttpResponse,
    NoRoute,
    Refusal,
    Standing,
    State,
    Tokens,
    Window,
)
from core.observe import Observation, Tap
from core.plan import Forward, Plan, Witnessed
from core.poller import Subject
from core.provider import Provider
from core.refresh import TIMEOUT_S, Refresher
from core.speeds import Speeds
from core.spending import Spending
from core.state import Explored, LimitsSeen, RequestEnded, RequestSent
from core.store import Store
from core.transport import Send, Transport

LONGEST_RETRY_AFTER = 60.0
"""OpenCode sleeps as long as it is told: two weeks have been seen."""
CONFIG_INTERVAL_S = 1.0
SETTLED_S = 5.0
"""How long the first polls wait for sign-ins to be renewed: usage is not read with a dead token."""

log = logging.getLogger(__name__)


class Engine:
    """One configuration at work: decides, observes, polls and remembers."""

    def __init__(
        self,
        config: Config,
        credentials: Credentials,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the one place
        known: Mapping[str, Provider] | None = None,
        source: ConfigFile | None = None,
        history: History | None = None,
        catalog: CatalogFile | None = None,
        previous: "Engine | None" = None,
    ) -> None:
        """`previous` is the engine in whose place this one comes: conversations go on."""
        self.config = config
        self._source = source
        self.credentials = credentials
        self.clock = clock
        self.knowledge = Knowledge(store, clock)
        self.history = history or History(None)
        self._catalog = catalog or CatalogFile(None, ())
        self._providers = providers.known() if known is None else known
        renewed = previous.refresher if previous else None
        self.refresher: Refresher = Refresher(
            lambda: self.accounts, credentials, clock, previous=renewed
        )
        self.conversations: Conversations = previous.conversations if previous else Conversations()
        self.speeds: Speeds = previous.speeds if previous else Speeds()
        self._usual = Usual()

    @property
    def state(self) -> State:
        return self.knowledge.state

    async def run(self, ready: Callable[[], None], send: Send | None = None) -> None:
        """Poll and save until cancelled. `ready` is called once every stale account was asked."""
        async with (
            Transport() as transport,
            Transport(TIMEOUT_S) as patient,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._watch_config())
            settled = asyncio.Event()
            tasks.create_task(self.refresher.run(send or patient.send, settled.set))
            with suppress(TimeoutError):
                await asyncio.wait_for(settled.wait(), SETTLED_S)
            await self.knowledge.run(self.askable, ready, send or transport.send)

    def reload(self) -> None:
        """Take up a configuration that was edited; a broken one is told of, and changes nothing."""
        if self._source is None:
            return
        try:
            old = self.config
            if self._source.changed():
                self.config = self._source.config
                if self.config.state != old.state:
                    log.warning("limit-router: another state folder is used from the next start on")
                log.info("limit-router: the new %s is in effect", self._source.path)
        except ConfigError as error:
            log.warning("limit-router: %s", kept(error))

    async def _watch_config(self) -> None:
        while True:
            self.reload()
            # In a thread: it has megabytes.
            await asyncio.to_thread(self._catalog.refresh)
            await asyncio.sleep(CONFIG_INTERVAL_S)

    def close(self) -> None:
        """Write what is not written yet."""
        self.knowledge.close()
        self.history.close()

    # What the proxy asks

    def plan(
        self, request: HttpRequest, *, peer: str | None, connection: str | None = None
    ) -> Plan:
        """What becomes of a request: forwarded, answered, or (None) none of our business.

        `connection` tells one client's connection from another: a conversation that names itself
        nowhere is that of its connection.
        """
        self.reload()
        try:
            names = {key: it.name for key, it in self.config.models.items() if it.name}
            matched: Matched | HttpResponse | None
            matched = matching.match(request, self.config.models, names)
        except RequestError as error:
            matched = matching.refuse(request, error)
        if matched is None:
            return None
        if not self.admits(peer):
            return matching.failure(request, 403, _NOT_ADMITTED)
        if isinstance(matched, HttpResponse):
            return matched
        self.knowledge.touch()
        self.refresher.touch()
        if matched.ask.session is None and connection is not None:
            matched = replace(matched, ask=replace(matched.ask, session=connection))
        standing = self.conversations.standing(matched.ask)
        try:
            decision = self.decide(matched.ask)
        except RequestError as error:
            return matching.refuse(request, error)
        request_id = self.history.decided(matched.ask, decision, standing, self.clock())
        if isinstance(decision, NoRoute):
            return self.history.refused(request_id, self._nobody(request, decision), self.clock())
        try:
            first = self._dispatch.first(matched, decision, self.clock())
        except RequestError as error:
            return self.history.refused(request_id, matching.refuse(request, error), self.clock())
        forward = replace(first, request_id=request_id)
        self.knowledge.apply(RequestSent(decision.account, forward.sent_at))
        if decision.explores:
            self.knowledge.apply(Explored(decision.account, forward.sent_at))
        return forward

    def decide(self, ask: Ask) -> Decision:
        """The decision for an ask, by what is known now. Raises RequestError."""
        standing, now = self.conversations.standing(ask), self.clock()
        week = self._usual.week(self.state.accounts, now)
        policy = replace(policies.of(self.config, ask, now), week=week)
        candidates = self.candidates(ask, standing)
        return routing.decide(ask, candidates, self.state, now, policy, standing=standing)

    def admits(self, peer: str | None) -> bool:
        """Whether a client at this address may be routed."""
        if peer is None:
            return True
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self.config.allow_clients)

    def intercepted(self) -> tuple[tuple[str, int], ...]:
        """The TLS hosts that must be decrypted."""
        return self.accounts.intercepted()

    def targets(self) -> frozenset[tuple[str, int]]:
        """Where routed requests go."""
        return self.accounts.targets()

    def tap(self, forward: Forward, headers: Headers) -> Tap:
        return Tap(forward.ask.wire, headers, forward.provider.read_event)

    def witness(self, sent: HttpRequest, headers: Headers) -> Witnessed | None:
        """The head of an answer that we did not route: it counts if we know whose it is."""
        wire = wires.of_path(sent.path.partition("?")[0])
        subject = self.accounts.sender(sent.host, sent.port, sent.headers)
        if wire is None or subject is None:
            return None
        self._learn(subject.account, subject.provider.read_limits(headers, self.clock()))
        return Witnessed(subject.account, Tap(wire, headers, subject.provider.read_event))

    def witness_end(self, witnessed: Witnessed, seen: Observation) -> None:
        self._learn(witnessed.account, seen.windows)
        self._count(witnessed.account, seen.model, seen.tokens, None)

    def _learn(self, account: Account, windows: tuple[Window, ...]) -> None:
        if windows:
            self.knowledge.apply(LimitsSeen(account, windows))

    def repeat(
        self, forward: Forward, original: HttpRequest, answer: HttpResponse
    ) -> Forward | None:
        """The request once more, without what its answer refuses; None where that is no help.

        `original` is what the client sent. The attempt before is over: its answer goes to nobody.
        """
        now = self.clock()
        again = self._dispatch.again(forward, original, answer, now)
        if again is None:
            return None
        self.observe_headers(forward, answer.status, answer.headers)
        self.observe_end(forward, Observation(True, None, Tokens(), continuity.REFUSED))
        ask, route, request_id = again.ask, again.route, again.request_id
        standing, number = self.conversations.standing(ask), again.attempt
        self.history.decided(ask, route, standing, now, request=request_id, attempt=number)
        self.knowledge.apply(RequestSent(route.account, again.sent_at))
        return again

    def observe_headers(self, forward: Forward, status: int, headers: Headers) -> None:
        """The head of an answer: its limits are the newest reading there is."""
        account = forward.route.account
        self.history.answered(forward.request_id, status, self.clock(), forward.attempt)
        self._learn(account, forward.provider.read_limits(headers, self.clock()))
        if status < 400:  # noqa: PLR2004
            self.conversations.served(forward.ask, account)

    def _count(
        self, account: Account, model: str | None, tokens: Tokens, sent_at: float | None
    ) -> None:
        if model is not None:
            spend, now = self.spending.charge(account, model, tokens), self.clock()
            self.knowledge.count(
                partial(RequestEnded, account, model, tokens, sent_at, at=now, spend=spend)
            )

    def observe_end(self, forward: Forward, seen: Observation | None) -> None:
        """A request is over, well or not; None is one that no answer came to.

        From now on its thinking is known to be this account's.
        """
        account, model = forward.route.account, forward.route.candidate.provider_model
        tokens = Tokens() if seen is None else seen.tokens
        cost = None if seen is None else self.spending.cost(account, model, tokens)
        attempt = forward.attempt
        self.history.ended(forward.request_id, seen, self.clock(), attempt=attempt, cost_usd=cost)
        self._count(account, model, tokens, forward.sent_at)
        if seen is None:
            return
        maker, off = Maker.of(forward.provider, account, model), forward.thinking.off
        now = self.clock()
        self.conversations.answered(forward.ask, seen, account, maker, now, unthinking=off)
        self.speeds.learn(account, model, forward.sent_at, seen, self.clock())
        self._learn(account, seen.windows)

    def summary(self) -> str:
        """One line for the log: what there is to route to."""
        return notices.summary(self.config, self.subjects(), self.state)

    def warnings(self) -> tuple[str, ...]:
        """What the user should know at start."""
        subjects = self.subjects()
        return notices.warnings(
            self.config, self.credentials, self.accounts, self.spending, subjects
        )

    # What the parts need

    def candidates(self, ask: Ask, standing: Standing | None = None) -> list[Candidate]:
        """The model's providers, in the configuration's order, each with what stands against it."""
        return Candidates(
            self.config,
            self.accounts,
            self._providers,
            self.spending,
            self._catalog.catalog,
            self.speeds,
            self.refresher.hurry,
        ).of(ask, self.state, self.clock(), standing)

    def subjects(self) -> list[Subject]:
        """The accounts that can be asked for their usage."""
        return self.accounts.all()

    def askable(self) -> list[Subject]:
        """Those whose token an endpoint would take: others would have to wait after a refusal."""
        return [subject for subject in self.subjects() if self.sign_in_over(subject) is None]

    def sign_in_over(self, subject: Subject) -> str | None:
        """Why its token is of no use now, and what to do; None where it is of use."""
        return self.accounts.over(subject, self.clock())

    @property
    def accounts(self) -> Accounts:
        """By the configuration that is in effect now."""
        return Accounts(self.config, self.credentials, self._providers)

    @property
    def spending(self) -> Spending:
        """By the configuration and the prices that are known now."""
        return Spending(self.config, self._catalog.catalog, self._providers)

    @property
    def _dispatch(self) -> Dispatch:
        return Dispatch(self.config, self.accounts, self._providers, self.conversations)

    def _nobody(self, request: HttpRequest, decision: NoRoute) -> HttpResponse:
        if decision.refusal is Refusal.EXHAUSTED:
            relief = decision.relief_at
            wait = LONGEST_RETRY_AFTER if relief is None else relief - self.clock()
            seconds = round(min(max(wait, 1.0), LONGEST_RETRY_AFTER))
            headers = (("retry-after", str(seconds)),)
            return matching.failure(request, 429, decision.reason, headers)
        message = decision.reason
        if all(v.candidate.account is None for v in decision.verdicts):
            message = (
                f"limit-router has no credential for this model. {self.accounts.how_to_sign_in()}"
            )
        # Asking again at once cannot help; Anthropic's and OpenAI's clients heed this field.
        return matching.failure(request, 503, message, (("x-should-retry", "false"),))


_NOT_ADMITTED = (
    "limit-router adds credentials, so it serves clients on this machine alone; bind the proxy to "
    "it with --listen-host 127.0.0.1, or name the client's network under allow_clients in mitm.yaml"
)
