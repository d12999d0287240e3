"""mitm.yaml: its shape, where it is found, and a sentence for whatever is wrong in it.

Reads one file and writes none. Knows no provider: their ids are an argument.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from core import yamltext
from core.complaint import (
    BY_PROVIDER,
    PLAIN,
    Keys,
    complaint,
    nearest,
    refuse,
    shown,
    unknown_key,
)
from core.errors import ConfigError
from core.model import Mode
from core.scalars import BaseUrl, Folder, Network, Number, Seconds, Text, Url, WorkingHours

_MODES = ", ".join(Mode)


def _mode(value: Any) -> dict[str, float]:
    """One mode, or several with how much each counts. Order and weights decide together."""
    weights = {value: 1.0} if isinstance(value, str) else value
    allowed = f"one of {_MODES}, or a mapping of some of them to weights: {{pace: 3, fastest: 1}}"
    if not isinstance(weights, dict) or not weights:
        raise refuse("wrong value", allowed=allowed)
    for name, weight in weights.items():
        if name not in list(Mode):
            hint = nearest(name, list(Mode)) if isinstance(name, str) else None
            raise refuse("wrong value", found=shown((), name), allowed=allowed, hint=hint)
        if type(weight) not in (int, float) or not 0.0 < weight <= _HEAVIEST:
            raise refuse(
                "not a weight",
                at=(name,),
                key=True,
                found=shown((), weight),
                allowed="a number above 0",
            )
    return {str(name): float(weight) for name, weight in weights.items()}


type Modes = Annotated[dict[str, float], BeforeValidator(_mode)]

FILE_NAME = "mitm.yaml"
VARIABLE = "LIMIT_ROUTER_CONFIG"
OPTION = "limit_router_config"

type Dollars = Annotated[Number, Field(ge=0)]

_HEAVIEST = 1000.0
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """An empty value (`policy:` with nothing below) is the default."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            return value
        for key in value:
            if key not in cls.model_fields:
                raise unknown_key(cls.model_fields, key)
        return {key: inner for key, inner in value.items() if inner is not None}


class BudgetConfig(_Section):
    """What a pay-per-token account may spend, by the calendar in UTC."""

    usd: Annotated[Number, Field(gt=0)]
    per: Literal["day", "week", "month"]


class CredentialFrom(_Section):
    """Where one of several sign-ins is found: exactly one of the two."""

    env: Text | None = None
    opencode: Text | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.env is None) == (self.opencode is None):
            raise refuse("names no single place", found=None, allowed="either env or opencode")
        return self


class AccountConfig(_Section):
    name: Text
    credential: CredentialFrom


class ProviderConfig(_Section):
    oauth: StrictBool = False
    base_url: BaseUrl | None = None
    usage_url: Url | None = None
    token_url: Url | None = None
    reserve: dict[Text, Annotated[Number, Field(ge=0, le=100)]] = Field(default_factory=dict)
    """Percent kept back, by window."""
    overage: StrictBool = False
    budget: BudgetConfig | None = None
    accounts: tuple[AccountConfig, ...] = ()


class PriceConfig(_Section):
    """US dollars per million tokens."""

    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    """None: as any prompt."""


def _price_form(value: Any) -> str:
    """One price at every provider, or one for each: only the first has an `input` and so on."""
    one = not isinstance(value, dict) or any(key in PriceConfig.model_fields for key in value)
    return PLAIN if one else BY_PROVIDER


type _Prices = Annotated[
    Annotated[PriceConfig, Tag(PLAIN)] | Annotated[dict[str, PriceConfig], Tag(BY_PROVIDER)],
    Discriminator(_price_form),
]

_CANDIDATES = "a list of providers, or a mapping of providers to their spelling of the model"


class ModelConfig(_Section):
    name: Text | None = None
    providers: dict[str, Text | None] = Field(default_factory=dict, validate_default=True)
    """At least one. The provider's own spelling of the model, by provider id; None is the usual spelling."""
    mode: Modes | None = None
    """None is the policy's."""
    pin: Text | None = None
    limits: Literal["largest", "smallest"] = "largest"
    price: _Prices = Field(default_factory=dict)
    """At every provider, or by provider id. Before what the catalogue says."""

    @field_validator("providers", mode="before")
    @classmethod
    def _by_id(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list | dict):
            raise refuse("wrong value", allowed=_CANDIDATES)
        if not value:
            raise refuse("names no provider", found=None, allowed=_CANDIDATES)
        if isinstance(value, dict):
            for provider in value:
                _check_candidate(provider, provider, info)
            return value
        for at, provider in enumerate(value):
            _check_candidate(provider, at, info)
            if provider in value[:at]:
                raise refuse("names a provider twice", at=(at,), found=shown((), provider))
        return dict.fromkeys(value)

    @model_validator(mode="after")
    def _names_its_candidates(self) -> Self:
        if self.pin is not None:
            self._check(self.pin, ("pin",))
        for provider in self.price if isinstance(self.price, dict) else ():
            self._check(provider, ("price", provider))
        return self

    def _check(self, provider: str, at: Keys) -> None:
        if provider not in self.providers:
            raise refuse(
                "is not one of this model's providers",
                at=at,
                key=True,
                found=shown((), provider),
                allowed=", ".join(self.providers),
                hint=nearest(provider, self.providers),
            )

    def price_at(self, provider: str) -> PriceConfig | None:
        return self.price.get(provider) if isinstance(self.price, dict) else self.price


def _check_candidate(provider: Any, at: str | int, info: ValidationInfo) -> None:
    """A model's provider: one that requests can be sent to."""
    known, routable = _ids(info)
    if provider in known and provider not in routable:
        raise refuse(
            "nothing is routed to this provider yet, only its usage is shown",
            at=(at,),
            found=shown((), provider),
            allowed=", ".join(routable),
        )
    _check_provider(provider, at, routable)


def _ids(info: ValidationInfo) -> tuple[Collection[str], Collection[str]]:
    """The known providers, and those that are routed to; none are where nothing is to be checked."""
    return (info.context["providers"], info.context["routable"]) if info.context else ((), ())


def _check_provider(provider: Any, at: str | int, known: Collection[str]) -> None:
    if known and provider not in known:
        raise refuse(
            "unknown provider",
            at=(at,),
            found=shown((), provider),
            allowed=", ".join(known),
            hint=nearest(provider, known) if isinstance(provider, str) else None,
        )


class Policy(_Section):
    mode: Modes = Field(default_factory=lambda: {"pace": 1.0})
    unknown: Literal["last", "middle", "exclude"] = "middle"
    metered: Literal["last", "by_budget"] = "last"
    schedule: WorkingHours | None = None
    stickiness: Literal["session", "none"] = "session"


class Failover(_Section):
    """Durations in seconds."""

    max_attempts: Annotated[StrictInt, Field(ge=1, le=100)] = 4
    budget: Seconds = 90.0
    first_byte_timeout: Seconds = 60.0
    idle_timeout: Seconds = 120.0


class Catalog(_Section):
    url: Url | None = None


class Notify(_Section):
    opencode: Text | None = None
    desktop: StrictBool = False
    command: Text | None = None


class Config(_Section):
    """All of mitm.yaml. What is absent has its default."""

    allow_clients: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1"))
    providers: dict[str, ProviderConfig] = Field(default_factory=dict)
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    policy: Policy = Policy()
    failover: Failover = Failover()
    discover: Literal["off", "configured", "all"] = "configured"
    catalog: Catalog = Catalog()
    notify: Notify = Notify()
    state: Folder | None = None

    @field_validator("providers", mode="before")
    @classmethod
    def _known_providers(cls, value: Any, info: ValidationInfo) -> Any:
        for key in value if isinstance(value, dict) else ():
            _check_provider(key, key, _ids(info)[0])
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _model_names(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if not _MODEL_NAME.fullmatch(key):
                raise refuse(
                    "not a name for a model",
                    at=(key,),
                    found=shown((), key),
                    allowed="lower-case letters, digits, `.`, `_` and `-`, a letter or digit first",
                    hint=_model_hint(key),
                )
        return value

    def provider(self, provider: str) -> ProviderConfig:
        return self.providers.get(provider) or ProviderConfig()


def _model_hint(name: str) -> str | None:
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower().removeprefix("limit-router/")).strip("-._")
    return f"write it as `{plain}`" if plain and plain.isascii() else None


def find(
    explicit: Path | None, environ: Mapping[str, str], user_config_dir: Path, shipped: Path
) -> Path:
    """The first that is named or exists. Never one in the current folder (DESIGN §7)."""
    if explicit is not None:
        return _named(explicit, f"the option {OPTION}")
    if variable := environ.get(VARIABLE, "").strip():
        return _named(Path(variable), f"the variable {VARIABLE}")
    users = user_config_dir / FILE_NAME
    return users if _exists(users) else shipped


def _named(path: Path, by: str) -> Path:
    try:
        full = path.expanduser().absolute()
    except RuntimeError:
        full = path
    if not _exists(full):
        raise ConfigError(str(path), f"there is no such file, and {by} names it")
    return full


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True  # it is there, or may be: reading it says what is wrong
    return True


def load(
    path: Path, provider_ids: Collection[str], routable: Collection[str] | None = None
) -> Config:
    """Raises `ConfigError`."""
    file = str(path)
    return parse(yamltext.decoded(path, file), file, provider_ids, routable)


def parse(
    text: str, file: str, provider_ids: Collection[str], routable: Collection[str] | None = None
) -> Config:
    """Raises `ConfigError`. `file` is its name, for the message.

    `routable` are the providers that a model may name: of the others usage is read, and no more.
    None is all of them.
    """
    document = yamltext.read(text, file)
    known = tuple(provider_ids)
    context = {"providers": known, "routable": known if routable is None else tuple(routable)}
    try:
        return Config.model_validate(document.value, context=context)
    except ValidationError as error:
        refusal = complaint(error, file, document.line)
    raise refusal


_NO_EFFECT_YET = (
    ("providers.*", "accounts"),
    ("models.*", "limits"),
    ("failover", "max_attempts", "budget", "first_byte_timeout", "idle_timeout"),
    ("", "discover"),
    ("catalog", "url"),
    ("notify", "opencode", "desktop", "command"),
)


def without_effect(config: Config) -> tuple[str, ...]:
    """Keys that are set to what this version accepts and does not do yet."""
    return tuple(
        key
        for at, *names in _NO_EFFECT_YET
        for name in names
        for key, value, default in _values(config, f"{at}.{name}".lstrip(".").split("."), ())
        if value != default
    )


def _values(at: Any, keys: list[str], path: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    key, *rest = keys
    if key == "*":
        for name, section in at.items():
            yield from _values(section, rest, (*path, name))
    elif rest:
        yield from _values(getattr(at, key), rest, (*path, key))
    else:
        default = type(at).model_fields[key].get_default(call_default_factory=True)
        yield ".".join((*path, key)), getattr(at, key), default
