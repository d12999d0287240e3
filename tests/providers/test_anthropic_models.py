"""Each test names the section of PROVIDERS that it holds the parser to."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.model import (
    Abilities,
    Credential,
    CredentialType,
    HttpRequest,
    HttpResponse,
    Secret,
    Wire,
)
from core.providers.anthropic import PROVIDER

DATA = Path(__file__).parent.parent / "data" / "anthropic"


def told(body: object, status: int = 200) -> dict[str, Abilities]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert PROVIDER.models is not None
    flow = PROVIDER.models("https://api.anthropic.com", Wire.MESSAGES)
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(HttpResponse(status, (), raw))
    found = done.value.value
    assert isinstance(found, dict)
    return found


def test_f4_the_request_asks_for_all_and_holds_no_credential() -> None:
    assert PROVIDER.models is not None
    headers = (("accept", "application/json"), ("anthropic-version", "2023-06-01"))
    path = "/proxy/v1/models?limit=1000"
    request = HttpRequest("GET", "https", "example.com", 443, path, headers)
    assert next(PROVIDER.models("https://example.com/proxy", Wire.MESSAGES)) == request


def test_f4_keys_alone_are_known_to_be_answered() -> None:
    kinds = {
        kind: PROVIDER.has_models(Credential(kind, Secret("t"), "TEST", "me"))
        for kind in CredentialType
    }
    assert kinds == {CredentialType.API: True, CredentialType.OAUTH: False}


def test_f4_the_recorded_list_by_snapshot_and_by_name() -> None:
    """How long a prompt may be is not in it: that depends on the betas of a request."""
    sonnet = Abilities(output=64_000, images=True, thinking=True)
    assert told((DATA / "models.json").read_bytes()) == {
        "claude-sonnet-4-5-20250929": sonnet,
        "claude-sonnet-4-5": sonnet,
    }


def test_f4_a_name_is_its_newest_snapshot_s_unless_it_is_listed_itself() -> None:
    entries = [
        {"id": "m-20260101", "max_tokens": 2},
        {"id": "m-20250101", "max_tokens": 1},
        {"id": "n-20260101", "max_tokens": 4},
        {"id": "n", "max_tokens": 3},
    ]
    found = {name: it.output for name, it in told({"data": entries}).items()}
    assert found == {"m-20260101": 2, "m-20250101": 1, "m": 2, "n-20260101": 4, "n": 3}


def test_f4_the_list_does_not_say_what_there_is_not() -> None:
    assert not PROVIDER.lists_all


@pytest.mark.parametrize(
    ("entry", "abilities"),
    [
        ({"max_tokens": None, "capabilities": None}, Abilities()),
        ({"max_tokens": 0, "max_input_tokens": 200_000}, Abilities()),
        ({"capabilities": {"image_input": None, "thinking": []}}, Abilities()),
        ({"capabilities": {"image_input": {"supported": False}}}, Abilities(images=False)),
        ({"capabilities": {"thinking": {"supported": False}}}, Abilities(thinking=False)),
        ({"capabilities": {"thinking": {"supported": "no"}}}, Abilities()),
    ],
)
def test_f4_what_is_null_or_odd_says_nothing(
    entry: dict[str, object], abilities: Abilities
) -> None:
    assert told({"data": [{"id": "m"} | entry]}) == {"m": abilities}


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": [None, 5, {"id": 5}]}])
def test_f4_no_list_says_nothing(body: object) -> None:
    assert told(body) == {}


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (404, b"CONTENT", "the model list answered 404"),
        (200, b"CONTENT", "the model list answered something that is not JSON"),
    ],
)
def test_f4_what_is_no_answer_is_a_sentence(status: int, body: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        told(body, status)
    assert str(caught.value) == says


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
ENTRY = st.fixed_dictionaries({"id": JSON}, optional={"max_tokens": JSON, "capabilities": JSON})


@given(st.fixed_dictionaries({"data": JSON | st.lists(ENTRY | JSON, max_size=4)}))
def test_any_json_is_a_list(body: object) -> None:
    assert all(it.output is None or it.output >= 1 for it in told(body).values())
