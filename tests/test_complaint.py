import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.complaint import dotted, nearest, shown

TOKENS = [
    "sk-ant-api03-x",
    "Bearer x",
    "gho_16C7e42F292c6912E7710c838347Ae178B4a",
    "ghu_x",
    "github_pat_11A",
    "eyJhbGciOiJIUzI1NiJ9",
    "xoxb-1",
    "AIzaSyA",
    "before sk-after",
    "0123456789abcdef0123456789abcdef01234567",
]


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_shown_nowhere(token: str) -> None:
    assert shown((), token) == "text that looks like a credential (not shown)"
    assert dotted(("models", token, "name")) == "models.….name"


@pytest.mark.parametrize(
    "key", ["api_key", "apiKey", "key", "x-api-key", "token", "client_secret", "password", "auth"]
)
def test_the_value_of_a_key_that_holds_a_credential_is_not_shown(key: str) -> None:
    assert shown(("providers", key), "hunter2") == "a value that is not shown"
    assert shown((key, "env"), 1234) == "a value that is not shown"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("paced", "'paced'"),
        ("claude-sonnet-4-5-20250929", "'claude-sonnet-4-5-20250929'"),
        (4, "4"),
        (2.5, "2.5"),
        (True, "true"),
        (None, "nothing"),
        ({"key": "hunter2"}, "a mapping"),
        (["hunter2"], "a list"),
        ("a\nb", "'a\\nb'"),
        ("y " * 50, "'y y y y y y y y y y y y y y y y y y y y y y y y y y y y y …"),
    ],
)
def test_other_values_are_shown(value: object, words: str) -> None:
    assert shown(("providers", "anthropic", "oauth"), value) == words


@settings(deadline=None)
@given(st.lists(st.text() | st.integers()), st.text())
def test_fits_on_a_line(path: list[str | int], value: str) -> None:
    assert dotted(tuple(path)).isprintable()
    assert shown(tuple(path), value).isprintable()
    assert len(shown(tuple(path), value)) <= 60


def test_nearest() -> None:
    assert nearest("antropic", ("anthropic",)) == "the nearest valid spelling is `anthropic`"
    assert nearest("ANTHROPIC", ("anthropic",)) == "the nearest valid spelling is `anthropic`"
    assert nearest("copilot", ("anthropic",)) is None
