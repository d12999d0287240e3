import pytest

from core import errors
from core.errors import (
    ConfigError,
    CredentialError,
    LimitRouterError,
    RequestError,
    StateError,
    UsageError,
)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConfigError("mitm.yaml", "is not UTF-8 text"), "mitm.yaml: is not UTF-8 text."),
        (
            ConfigError("mitm.yaml", "is missing", 3, "models.a.providers"),
            "mitm.yaml, line 3: `models.a.providers`: is missing.",
        ),
        (
            ConfigError(
                "mitm.yaml", "wrong value", 3, "discover", "'on'", "off, all", "see README"
            ),
            "mitm.yaml, line 3: `discover`: wrong value; found 'on'; allowed: off, all; see README.",
        ),
        (CredentialError("auth.json", "is not JSON"), "auth.json: is not JSON."),
        (StateError("state.json", "cannot be read"), "state.json: cannot be read."),
        (RequestError(400, "The body is not JSON."), "The body is not JSON."),
        (UsageError("it said 503", 60.0), "it said 503"),
    ],
)
def test_sentences(error: LimitRouterError, sentence: str) -> None:
    assert str(error) == sentence


def test_every_error_is_one_of_ours_and_can_be_raised() -> None:
    ours = {value for value in vars(errors).values() if isinstance(value, type)}
    assert all(issubclass(kind, LimitRouterError) for kind in ours)
    for error in (StateError("f", "p"), UsageError("p")):
        with pytest.raises(LimitRouterError) as caught:
            raise error
        assert caught.value is error


def test_errors_are_told_apart_by_identity() -> None:
    assert StateError("f", "p") != StateError("f", "p")
    assert len({StateError("f", "p"), StateError("f", "p")}) == 2
