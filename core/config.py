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
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from core import yamltext
from core.complaint import complaint, nearest, refuse, shown, unknown_key
from core.errors import ConfigError
from core.scalars import BaseUrl, Folder, Network, Number, Seconds, Text, Url

type Mode = Literal["pace", "drain", "cheapest", "fastest", "priority"]

FILE_NAME = "mitm.yaml"
VARIABLE = "LIMIT_ROUTER_CONFIG"
OPTION = "limit_router_config"

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


class Budget(_Section):
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
    budget: Budget | None = None
    accounts: tuple[AccountConfig, ...] = ()


_CANDIDATES = "a list of providers, or a mapping of providers to their spelling of the model"


class ModelConfig(_Section):
    name: Text | None = None
    providers: dict[str, Text | None] = Field(default_factory=dict, validate_default=True)
    """At least one. The provider's own spelling of the model, by provider id; None is the usual spelling."""
    mode: Mode | None = None
    """None is the policy's."""
    pin: Text | None = None
    limits: Literal["largest", "smallest"] = "largest"

    @field_validator("providers", mode="before")
    @classmethod
    def _by_id(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list | dict):
            raise refuse("wrong value", allowed=_CANDIDATES)
        if not value:
            raise refuse("names no provider", found=None, allowed=_CANDIDATES)
        if isinstance(value, dict):
            for provider in value:
                _check_provider(provider, provider, info)
            return value
        for at, provider in enumerate(value):
            _check_provider(provider, at, info)
            if provider in value[:at]:
                raise refuse("names a provider twice", at=(at,), found=shown((), provider))
        return dict.fromkeys(value)

    @model_validator(mode="after")
    def _pin_is_a_candidate(self) -> Self:
        if self.pin is not None and self.pin not in self.providers:
            raise refuse(
                "is not one of this model's providers",
                at=("pin",),
                key=True,
                found=shown((), self.pin),
                allowed=", ".join(self.providers),
                hint=nearest(self.pin, self.providers),
            )
        return self


def _known(info: ValidationInfo) -> Collection[str] | None:
    return info.context["providers"] if info.context else None


def _check_provider(provider: Any, at: str | int, info: ValidationInfo) -> None:
    known = _known(info)
    if known is not None and provider not in known:
        raise refuse(
            "unknown provider",
            at=(at,),
            found=shown((), provider),
            allowed=", ".join(known),
            hint=nearest(provider, known) if isinstance(provider, str) else None,
        )


class Policy(_Section):
    mode: Mode = "pace"
    unknown: Literal["last", "middle", "exclude"] = "middle"
    metered: Literal["last", "by_budget"] = "last"
    schedule: Text | None = None
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
            _check_provider(key, key, info)
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


def load(path: Path, provider_ids: Collection[str]) -> Config:
    """Raises `ConfigError`."""
    file = str(path)
    return parse(yamltext.decoded(path, file), file, provider_ids)


def parse(text: str, file: str, provider_ids: Collection[str]) -> Config:
    """Raises `ConfigError`. `file` is its name, for the message."""
    document = yamltext.read(text, file)
    try:
        return Config.model_validate(document.value, context={"providers": tuple(provider_ids)})
    except ValidationError as error:
        refusal = complaint(error, file, document.line)
    raise refusal


_NO_EFFECT_YET = (
    ("providers.*", "reserve", "overage", "budget", "accounts"),
    ("models.*", "mode", "pin", "limits"),
    ("policy", "mode", "unknown", "metered", "schedule", "stickiness"),
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
        if value not in (default, "pace")  # a model may well repeat what the policy says
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
