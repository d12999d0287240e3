"""What the user should know at start, in sentences for the log."""

from collections.abc import Iterable, Sequence

from core.accounts import SIGNED_OUT, Accounts
from core.config import Config, without_effect
from core.credentials import Credentials
from core.model import State
from core.poller import Subject
from core.spending import Spending


def summary(config: Config, subjects: Iterable[Subject], state: State) -> str:
    """One line: what there is to route to."""
    found = {subject.provider.id: state.of(subject.account) for subject in subjects}
    accounts = [f"{name} ({'known' if s.windows else 'unknown'})" for name, s in found.items()]
    models = len(config.models)
    served = f"{models} model{'' if models == 1 else 's'}"
    return f"{served}, usage of {', '.join(accounts) or 'no account'}"


def warnings(
    config: Config,
    credentials: Credentials,
    accounts: Accounts,
    spending: Spending,
    subjects: Sequence[Subject],
) -> tuple[str, ...]:
    """What stands in the way, or does not do what it seems to. `subjects` are looked up already:
    asking for the sign-ins finds their problems."""
    found = [str(problem) for problem in credentials.problems]
    found += [
        f"{key} in the configuration is not in effect in this version"
        for key in without_effect(config)
    ]
    if not subjects:
        found.append(f"no credential found. {accounts.how_to_sign_in()}")
    for subject in subjects:
        consent = accounts.missing_consent(subject)
        if consent is not None:
            found.append(f"{subject.provider.id} is not routed to: {consent}")
        if credentials.is_signed_out(subject.credential):
            found.append(f"{subject.provider.id} is {SIGNED_OUT}")
    return (*found, *spending.warnings(subjects))
