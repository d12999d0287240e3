"""Says what is to be asked of the providers, and when. Pure: no clock, no I/O, no chance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.model import Account, AccountState, Credential, State
from core.provider import Provider

LONGEST_BACKOFF = 3600.0
LONGEST_WAIT = 86400.0
"""However long a provider asks for: a figure out of all proportion must not end the polling."""
MODELS_RETRY = 3600.0


class Question(StrEnum):
    USAGE = "usage"
    MODELS = "models"


@dataclass(frozen=True, slots=True)
class Subject:
    """An account that can be asked about."""

    account: Account
    provider: Provider
    credential: Credential
    base_url: str
    usage_url: str | None

    def has(self, question: Question) -> bool:
        if question is Question.MODELS:
            return self.provider.models is not None and self.provider.has_models(self.credential)
        provider = self.provider
        asks = provider.usage is not None and self.usage_url is not None
        return asks and provider.has_usage(self.credential)


@dataclass(frozen=True, slots=True)
class Job:
    subject: Subject
    question: Question


def schedule(
    subjects: Iterable[Subject], state: State, lists_after: Mapping[str, float]
) -> list[tuple[float, Job]]:
    """Every question and when it falls due, soonest first.

    `lists_after` says, by account id, until when a model list that failed is left alone.
    """
    jobs: list[tuple[float, Job]] = []
    for subject in subjects:
        known = state.of(subject.account)
        if subject.has(Question.USAGE):
            jobs.append((known.poll_after or 0.0, Job(subject, Question.USAGE)))
        if subject.has(Question.MODELS):
            read = known.models_at
            stale_at = 0.0 if read is None else read + subject.provider.models_interval_s
            at = max(stale_at, lists_after.get(subject.account.id, 0.0))
            jobs.append((at, Job(subject, Question.MODELS)))
    return sorted(jobs, key=lambda entry: entry[0])


def after_reading(provider: Provider, now: float, *, jitter: float) -> float:
    """When to ask again after a reading. `jitter` runs 0 to 1 and only ever lengthens the wait."""
    return now + provider.usage_interval_s * (1.0 + 0.2 * jitter)


def after_failure(
    provider: Provider, known: AccountState, now: float, retry_after: float | None
) -> float:
    """When to ask again after a failure: twice as long each time, an hour at most.

    A wait that the provider names is honoured where it is longer.
    """
    backoff = provider.usage_interval_s * 2.0 ** min(known.failures, 8)
    wait = min(backoff, max(LONGEST_BACKOFF, provider.usage_interval_s))
    return now + max(wait, min(retry_after or 0.0, LONGEST_WAIT))
