"""The routing policy for one ask, out of the configuration and what the client wants."""

import time
from functools import lru_cache

from core.config import Config, ModelConfig
from core.errors import RequestError
from core.model import Ask, Mode, Policy, Schedule, Unknown
from core.scalars import working_spans


def of(config: Config, ask: Ask, now: float) -> Policy:
    """The model's own settings before the policy's; the client's pin before both.

    Raises RequestError where the client wants a provider that the model has not.
    """
    model = config.models[ask.model]
    if ask.pin is not None and ask.pin not in model.providers:
        known = ", ".join(model.providers)
        raise RequestError(
            400, f"x-limit-router-provider names none of this model's providers, which are {known}"
        )
    return by(config, model, ask.pin, now)


def by(config: Config, model: ModelConfig | None, pin: str | None, now: float) -> Policy:
    """The same for a model that may be in the configuration no more, and a pin that held once."""
    policy, own = config.policy, None if model is None else model.mode
    weights = policy.mode if own is None else own
    return Policy(
        weights={Mode(name): weight for name, weight in weights.items()},
        unknown=Unknown(policy.unknown),
        metered_by_budget=policy.metered == "by_budget",
        schedule=schedule(config, now),
        sticky=policy.stickiness == "session",
        pin=pin or (None if model is None else model.pin),
    )


def schedule(config: Config, now: float) -> Schedule | None:
    """The working hours that are declared, by the clock on the wall as it goes now."""
    text = config.policy.schedule
    return None if text is None else _schedule(text, _offset(now))


@lru_cache(maxsize=8)
def _schedule(text: str, utc_offset_s: float) -> Schedule:
    return Schedule(working_spans(text) or (), utc_offset_s)


def _offset(now: float) -> float:
    """How far local time is ahead of UTC, in seconds: working hours are the clock's on the wall."""
    return float(time.localtime(now).tm_gmtoff)
