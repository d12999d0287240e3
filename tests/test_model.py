import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest

from core.model import (
    Account,
    AccountKind,
    AccountState,
    Credential,
    CredentialType,
    HttpRequest,
    Secret,
    Source,
    State,
    Tokens,
    Window,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("used", "duration", "says"),
    [
        (NAN, 1.0, "used_percent is nan"),
        (INF, 1.0, "used_percent is inf"),
        (-INF, None, "used_percent is -inf"),
        (1.0, 0.0, "duration_s is 0.0"),
        (1.0, -1.0, "duration_s is -1.0"),
        (1.0, NAN, "duration_s is nan"),
    ],
)
def test_a_window_that_cannot_be_is_refused(used: float, duration: float | None, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        Window("month", used, None, duration, Source.HEADER, 0.0)


@pytest.mark.parametrize("used", [-0.33, 0.0, 100.0, 101.0])
def test_a_window_keeps_the_figure_that_was_read(used: float) -> None:
    assert Window("month", used, None, None, Source.HEADER, 0.0).used_percent == used


def test_the_nouns_are_frozen() -> None:
    window = Window("month", 1.0, None, None, Source.HEADER, 0.0)
    with pytest.raises(FrozenInstanceError):
        window.used_percent = 2.0  # type: ignore[misc]


SECRET = Secret("sk-ant-TOKEN")


@pytest.mark.parametrize(
    "shown",
    [
        repr(SECRET),
        str(SECRET),
        f"{SECRET}",
        f"{SECRET!r:>40}",
        "%s" % SECRET,  # noqa: UP031
        repr([SECRET]),
        repr(Credential(CredentialType.API, SECRET, "ANTHROPIC_API_KEY", "abc")),
    ],
)
def test_a_secret_shows_itself_nowhere(shown: str) -> None:
    assert "TOKEN" not in shown
    assert "Secret(…)" in shown


def test_a_secret_is_revealed_on_request_alone() -> None:
    assert SECRET.reveal() == "sk-ant-TOKEN"


@pytest.mark.parametrize("spill", [pickle.dumps, copy.copy])
def test_a_secret_is_not_pickled(spill: object) -> None:
    with pytest.raises(TypeError, match=r"^a Secret is not pickled$"):
        spill(SECRET)  # type: ignore[operator]


def test_an_account_is_a_provider_and_a_sign_in() -> None:
    assert Account("anthropic", "1a2b", AccountKind.METERED).id == "anthropic/1a2b"


def test_an_origin_is_compared_without_case() -> None:
    request = HttpRequest("GET", "https", "API.Anthropic.com", 443, "/")
    assert request.origin == ("https", "api.anthropic.com", 443)


def test_of_an_account_never_heard_of_nothing_is_known() -> None:
    account = Account("anthropic", "1a2b", AccountKind.SUBSCRIPTION)
    known = AccountState(plan="pro")
    assert State().of(account) == AccountState()
    assert State({account.id: known}).of(account) is known


def test_an_account_is_as_old_as_its_newest_window() -> None:
    def window(name: str, as_of: float) -> Window:
        return Window(name, 1.0, None, None, Source.HEADER, as_of)

    assert AccountState().as_of is None
    assert AccountState({"a": window("a", 3.0), "b": window("b", 5.0)}).as_of == 5.0


@pytest.mark.parametrize(
    ("held", "later", "expected"),
    [
        (Tokens(1, 2, 3, 4), Tokens(), Tokens(1, 2, 3, 4)),
        (Tokens(1, 2, 3, 4), Tokens(5, 6, 7, 8), Tokens(5, 6, 7, 8)),
        (Tokens(1, 2, 3, 4), Tokens(output=0), Tokens(1, 0, 3, 4)),
        (Tokens(), Tokens(0, None, 0, None), Tokens(0, None, 0, None)),
    ],
)
def test_later_tokens_replace_what_they_say(held: Tokens, later: Tokens, expected: Tokens) -> None:
    assert held.updated(later) == expected
