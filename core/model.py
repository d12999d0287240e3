"""The nouns. Frozen values, checked when made; no behaviour, no I/O, no clock.

Times are epoch seconds (UTC) and durations are seconds, both as floats; percentages run 0 to 100.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite

type Headers = tuple[tuple[str, str], ...]
"""Header fields in the order they stood on the wire. Names keep their case."""


class Wire(StrEnum):
    """The format that a request and its answer are written in. Bodies are never translated."""

    MESSAGES = "anthropic-messages"
    RESPONSES = "openai-responses"
    CHAT = "openai-chat"


class Source(StrEnum):
    """Where a usage figure comes from."""

    HEADER = "header"
    ENDPOINT = "endpoint"
    ESTIMATE = "estimate"
    DECLARED = "declared"


class AccountKind(StrEnum):
    """What unused quota is worth: a subscription's expires, a metered account's is money kept."""

    SUBSCRIPTION = "subscription"
    METERED = "metered"


class Period(StrEnum):
    """A stretch of the calendar, in UTC. Weeks begin on Mondays."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class CredentialType(StrEnum):
    """How a sign-in was made, in OpenCode's terms."""

    API = "api"
    OAUTH = "oauth"


@dataclass(frozen=True, slots=True)
class Window:
    """One limit of one account, as last read."""

    name: str
    """`five_hour`, `seven_day`, `seven_day_<model>`, `month`, `budget`; else the provider's word."""
    used_percent: float
    """0 is untouched, 100 is spent. Providers report values above 100 and below 0."""
    resets_at: float | None
    duration_s: float | None
    """None where the provider does not say: such a window excludes and is not scored."""
    source: Source
    as_of: float
    scope: str | None = None
    """The model family that this window binds (`opus`). None binds every model."""
    overage: bool = False
    """Beyond it the account goes on for money, if it is let."""
    confidence: float = 1.0
    """How sure the figure was at `as_of`: 1 is a reading, below it an estimate."""
    mark: float = 0.0
    """What the account's meter (`AccountState.metered`) stood at when this was read."""

    def __post_init__(self) -> None:
        if not isfinite(self.used_percent):
            raise ValueError(f"used_percent is {self.used_percent}")
        if self.duration_s is not None and not self.duration_s > 0:
            raise ValueError(f"duration_s is {self.duration_s}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one reading of an account found. No windows means that it said nothing."""

    windows: tuple[Window, ...] = ()
    plan: str | None = None
    spent: Mapping[Period, float] = field(default_factory=dict, hash=False)
    """US dollars in the running day, week and month, where the provider tells them."""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A token. It shows itself nowhere: only `reveal()` returns it."""

    _value: str

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


@dataclass(frozen=True, slots=True)
class Credential:
    """A sign-in to one provider, as found in one source."""

    type: CredentialType
    secret: Secret
    source: str
    """Where it was found, for people: `ANTHROPIC_API_KEY`, `/home/u/…/auth.json`."""
    sign_in: str
    """A short one-way digest that tells one sign-in from another."""
    expires_at: float | None = None
    enterprise_host: str | None = None
    """GitHub Enterprise's host (`company.ghe.com`), where the sign-in is there."""
    account_id: str | None = None
    """ChatGPT's account (workspace), where the sign-in names one."""
    refresh: Secret | None = None
    """What new tokens are asked for with; None where they could be written nowhere."""
    entry: str | None = None
    """Its key in OpenCode's auth.json, where it stands in that file."""


@dataclass(frozen=True, slots=True)
class Account:
    """One sign-in to one provider: what readings belong to."""

    provider: str
    sign_in: str
    kind: AccountKind

    @property
    def id(self) -> str:
        return f"{self.provider}/{self.sign_in}"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request, whole. `path` has the query; `headers` have no Host."""

    method: str
    scheme: str
    host: str
    port: int
    path: str
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host.lower(), self.port


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response, whole."""

    status: int
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)
    """Not shown: a token endpoint's holds tokens."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client asks for, read off its request: no more than routing and rewriting need."""

    wire: Wire
    model: str
    """The virtual model's name, without `limit-router/`."""
    session: str | None = None
    tool_call: str | None = None
    """The id of the tool call whose result the last message hands back."""
    subagent: bool = False
    tool_loop: bool = False
    """The last message is a tool's result: the conversation is in mid-turn."""
    user_turn: bool = True
    """A person spoke last. False for tool results and for what a client makes up by itself."""
    images: bool = False
    prefill: bool = False
    """The last message is the assistant's: the answer is to go on from it."""
    stream: bool = False
    thinking: bool = False
    """It asks for thinking."""
    max_tokens: int | None = field(default=None, compare=False)
    """The longest answer that it takes."""
    size_bytes: int = field(default=0, compare=False)
    """Of the decoded body."""
    pin: str | None = None
    """The provider that the client wants and no other (`x-limit-router-provider`)."""
    cache_ttl_s: float = 300.0
    """How long the provider keeps this prompt in its cache."""
    fields: frozenset[str] = field(default=frozenset(), compare=False)
    """The names at the top of the body."""


class Mode(StrEnum):
    """What makes one account better than another."""

    PACE = "pace"
    """Most headroom against the pace of its limits."""
    DRAIN = "drain"
    """The limit that resets soonest: what is left in it then is lost."""
    CHEAPEST = "cheapest"
    """What the request costs; nothing, on a subscription."""
    FASTEST = "fastest"
    """How soon answers came of late."""
    PRIORITY = "priority"
    """The configuration's order."""


class Unknown(StrEnum):
    """Where accounts rank of whose limits nothing is known."""

    LAST = "last"
    MIDDLE = "middle"
    """Behind those that have headroom, ahead of those that are ahead of their pace."""
    EXCLUDE = "exclude"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What the user lets a pay-per-token account spend."""

    usd: float
    per: Period


@dataclass(frozen=True, slots=True)
class Spend:
    """What answers cost: dollars, and the tokens of those that no price is known for."""

    usd: float = 0.0
    unpriced: Mapping[str, float] = field(default_factory=dict, hash=False)
    """By the provider's spelling of the model."""


@dataclass(frozen=True, slots=True)
class ToldSpend:
    """The provider's own figures, and what our count stood at when they were read."""

    usd: Mapping[Period, float]
    at: float
    counted: Mapping[Period, Spend]


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an account answered of late with one model: moving averages."""

    first_token_s: float
    tokens_per_s: float
    spread_s: float
    """The mean distance of a time to first token from their average."""
    at: float
    """Of the latest answer in them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider that the configuration names for a model."""

    provider: str
    provider_model: str
    account: Account | None
    problem: str | None = None
    """Why it cannot serve, whatever its windows say: no credential, model not in its list."""
    reserve: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Percent of a window, by its name, that is kept back."""
    overage: bool = False
    """Whether what lies beyond a spent window may be paid for, where the account allows it."""
    price: Price | None = None
    speed: Speed | None = None
    budget: Budget | None = None
    """What a pay-per-token account may spend; None is no limit of the user's own."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When people work: elsewhere in the week time does not count."""

    spans: tuple[tuple[float, float], ...]
    """In order and apart; seconds from Monday's midnight, local time."""
    utc_offset_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Week:
    """When use is usually made of the accounts, as learned."""

    used_by: tuple[float, ...]
    """What is used from Thursday 00:00 UTC, as the epoch was one, to each full hour: 169 of them."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How candidates are compared."""

    weights: Mapping[Mode, float] = field(default_factory=lambda: {Mode.PACE: 1.0})
    """One mode, or several by how much each counts."""
    unknown: Unknown = Unknown.MIDDLE
    metered_by_budget: bool = False
    """Pay-per-token accounts compete by the pace of their budget; else they come last."""
    schedule: Schedule | None = None
    """The working hours that the user declares."""
    week: Week | None = None
    """The usual week, where none are declared: pace goes by what is usually used by now."""
    sticky: bool = True
    """A conversation's prompt cache is worth something."""
    pin: str | None = None
    """The one provider that may serve."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a conversation stands to lose by a move."""

    account: str
    """The id of the account that served it last."""
    cached_tokens: int = 0
    """What its last answer read from the prompt cache or wrote to it."""
    cached_until: float = 0.0


@dataclass(frozen=True, slots=True)
class WindowView:
    """A window as a decision saw it."""

    window: Window
    elapsed_percent: float | None
    pace_delta: float | None
    """Used minus elapsed, in percentage points: positive is ahead of pace. None without a length."""
    confidence: float = 1.0
    """How sure the figure is by now, 0 to 1: it fades over the window's length."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a decision made of one candidate."""

    candidate: Candidate
    available: bool
    score: float | None
    """Points: less is better. None where nothing is known."""
    windows: tuple[WindowView, ...]
    why: str
    relief_at: float | None = None
    """When an exhausted candidate can serve again, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What stands behind a decision, in words."""

    reason: str
    """One sentence, in ASCII since it travels in a header."""
    verdicts: tuple[Verdict, ...]
    """In order of preference, those that cannot serve last."""


@dataclass(frozen=True, slots=True)
class Route:
    """The decision: this candidate. What stands behind it is rendered when asked for."""

    candidate: Candidate
    explain: Callable[[], Explanation] = field(repr=False, compare=False)
    veto: bool = False
    """The conversation stays where another account would be better."""
    explores: bool = False
    """Nothing is known of the account: its answer may tell."""

    @property
    def account(self) -> Account:
        account = self.candidate.account
        assert account is not None
        return account

    @property
    def chosen(self) -> Verdict:
        return next(v for v in self.verdicts if v.candidate is self.candidate)

    @property
    def reason(self) -> str:
        return self.explain().reason

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return self.explain().verdicts


class Refusal(StrEnum):
    """Why nobody serves."""

    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class NoRoute:
    """The decision that nobody can serve it now."""

    refusal: Refusal
    explain: Callable[[], Explanation] = field(repr=False, compare=False)
    relief_at: float | None = None

    @property
    def reason(self) -> str:
        return self.explain().reason

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return self.explain().verdicts


type Decision = Route | NoRoute


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an answer cost, as the provider counts. None is what it did not say."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None

    def updated(self, later: "Tokens") -> "Tokens":
        """Streams say some figures at the start and repeat them, grown, at the end."""
        return Tokens(
            self.input if later.input is None else later.input,
            self.output if later.output is None else later.output,
            self.cache_read if later.cache_read is None else later.cache_read,
            self.cache_write if later.cache_write is None else later.cache_write,
        )


@dataclass(frozen=True, slots=True)
class StreamNote:
    """What one event of a streamed answer tells about it."""

    content: bool = False
    """It begins content: text, thinking or a tool call."""
    end: bool = False
    """It is the wire's closing event."""
    error: str | None = None
    """The type of an error that came inside the stream."""
    tokens: Tokens | None = None
    tool_call: str | None = None
    """The id of a tool call that begins."""
    model: str | None = None
    """Who answers, as the provider spells it."""
    signature: str | None = None
    """It signs a block of thinking, which only its maker's account takes back."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model takes and can do at one provider. None is what is not said."""

    context: int | None = None
    """Tokens, of prompt and answer together."""
    prompt: int | None = None
    """Tokens of prompt alone, where that is a limit of its own."""
    output: int | None = None
    images: bool | None = None
    tools: bool | None = None
    thinking: bool | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a window was seen to lose to the units that passed between its readings."""

    percent: float
    units: float
    at: float
    """Of the newest reading in it."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """All that is known of one account."""

    windows: Mapping[str, Window] = field(default_factory=dict)
    plan: str | None = None
    polled_at: float | None = None
    """When the usage endpoint was last asked, whatever it said."""
    poll_after: float | None = None
    """Not before this: the provider's interval, or a back-off."""
    failures: int = 0
    limited_until: float | None = None
    """The endpoint said 429: not before this, whoever asks."""
    error: str | None = None
    """What the last ask of the usage endpoint failed with; None after one that worked."""
    read_at: float | None = None
    """When the usage endpoint last told of windows: it told of all that it has."""
    metered: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Units of the answers that passed, ever growing: by provider model, then by writer.

    Each process that routes is a writer and counts alone, so that their sums can be merged."""
    hours: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """The same units by hour (in UTC, counted from the epoch's), then by writer, of late."""
    costs: Mapping[str, Cost] = field(default_factory=dict)
    """What a unit costs of each window, as learned, by the window's name."""
    spent: Mapping[int, Mapping[str, Spend]] = field(default_factory=dict)
    """By day (in UTC, counted from the epoch's), then by writer. Ever growing, like `metered`."""
    told_spend: ToldSpend | None = None
    in_flight: tuple[float, ...] = ()
    """When each request was sent that this process has not seen the end of. Not written down."""
    mean_units: float = 0.0
    """Of this process's latest answers. Not written down."""
    explored_at: float | None = None
    """When a session was last sent there for its answer to tell of limits that are not known."""
    models: tuple[str, ...] | None = None
    """The provider's own list of what this account may use. None was never read, or is not all."""
    abilities: Mapping[str, Abilities] = field(default_factory=dict)
    """What that list says of its models, by the provider's spelling."""
    models_at: float | None = None

    @property
    def as_of(self) -> float | None:
        return max((w.as_of for w in self.windows.values()), default=None)


@dataclass(frozen=True, slots=True)
class State:
    """What the router knows, by `Account.id`."""

    accounts: Mapping[str, AccountState] = field(default_factory=dict)

    def of(self, account: Account) -> AccountState:
        return self.accounts.get(account.id, _NOTHING_KNOWN)


_NOTHING_KNOWN = AccountState()
