"""From Claude 5.1 on a thought is bound to what stands before it; all are bound to who made them."""

import base64
import json
from typing import Any

import pytest
from simulator_caller import (
    PROVIDERS,
    TOOL,
    Caller,
    Json,
    assistant,
    body,
    error_of,
    events,
    result,
    used,
    user,
)

BINDING = "thinking-binding-controls-2026-08-01"
DROP = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
BOUND = ["claude-fable-5-1", "claude-fable-5-2", "claude-opus-5-5"]
BOUND += ["claude-sonnet-5-5", "claude-haiku-5-5"]
FREE = ["claude-sonnet-4-6", "claude-opus-4-8", "claude-sonnet-5", "claude-opus-5"]
OPUS = "claude-opus-5-5"
ADAPTIVE = {"type": "adaptive"}
MARK = {"cache_control": {"type": "ephemeral"}}
SYSTEM = [{"type": "text", "text": "Be brief."}]
OTHER_CONVERSATION = (
    "Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
    "Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "
    '"drop_block". That setting requires the `thinking-binding-controls-2026-08-01` value in the '
    "`anthropic-beta` header."
)
USED = used()
BEGUN = [user("Go."), assistant(USED), user(result("a file"), "Well?")]


def fields(model: str = OPUS, **more: Any) -> Json:
    return {"model": model, "thinking": ADAPTIVE, "system": SYSTEM, "tools": [TOOL]} | more


def answered(caller: Caller, provider: str, *messages: Json, **more: Any) -> list[Json]:
    """The conversation with the answer to it, and the next question."""
    answer = caller.ask(provider, body(*messages, **fields(**more)))
    assert answer.status_code == 200, answer.text
    return [*messages, assistant(*answer.json()["content"]), user("And?")]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("model", BOUND)
def test_a_changed_prefix_is_refused(caller: Caller, provider: str, model: str) -> None:
    said = answered(caller, provider, user("Hello."), model=model)
    assert caller.ask(provider, body(*said, **fields(model))).status_code == 200
    changed = caller.ask(provider, body(user("Hi."), *said[1:], **fields(model)))
    assert error_of(changed)[::2] == (400, f"messages.1.content.0: {OTHER_CONVERSATION}")


@pytest.mark.parametrize("model", FREE)
def test_older_models_do_not_look_at_the_prefix(caller: Caller, model: str) -> None:
    said = answered(caller, "anthropic", user("Hello."), model=model)
    asked = body(user("Hi."), *said[1:], **fields(model, system="Other."))
    assert caller.ask("anthropic", asked).status_code == 200


@pytest.mark.parametrize(
    ("messages", "more"),
    [
        (BEGUN, {"system": "Be long."}),
        (BEGUN, {"system": []}),
        (BEGUN, {"tools": [TOOL | {"description": "Other."}]}),
        (BEGUN, {"tools": [TOOL, TOOL | {"name": "read"}]}),
        ([user("Go!"), *BEGUN[1:]], {}),
        ([*BEGUN[:2], user(result("another file"), "Well?")], {}),
        ([*BEGUN[:2], user(result("a file"), "Well?", "Hurry.")], {}),
        ([BEGUN[0], assistant("Fine.", USED), BEGUN[2]], {}),
    ],
)
def test_what_counts_as_the_prefix(caller: Caller, messages: list[Json], more: Json) -> None:
    tail = answered(caller, "anthropic", *BEGUN)[len(BEGUN) :]
    refused = caller.ask("anthropic", body(*messages, *tail, **fields(**more)))
    assert error_of(refused)[2] == f"messages.3.content.0: {OTHER_CONVERSATION}"


@pytest.mark.parametrize(
    ("messages", "more"),
    [
        (BEGUN, {"system": "Be brief."}),
        (BEGUN, {"system": [SYSTEM[0] | MARK], "tools": [TOOL | MARK]}),
        ([{"role": "user", "content": "Go."}, *BEGUN[1:]], {}),
        ([user({"type": "text", "text": "Go."} | MARK), *BEGUN[1:]], {}),
        (
            [*BEGUN[:2], user(result([{"type": "text", "text": "a file"} | MARK]) | MARK, "Well?")],
            {},
        ),
        ([*BEGUN[:2], user(result()), user("Well?")], {}),
        (BEGUN, {"max_tokens": 5000, "stream": True, "metadata": {"user_id": "x"}}),
    ],
)
def test_what_does_not(caller: Caller, messages: list[Json], more: Json) -> None:
    tail = answered(caller, "anthropic", *BEGUN)[len(BEGUN) :]
    assert caller.ask("anthropic", body(*messages, *tail, **fields(**more))).status_code == 200


def test_a_thought_between_others_may_not_be_missing(caller: Caller) -> None:
    said = answered(caller, "anthropic", user("One."))
    said = answered(caller, "anthropic", *said)
    said = answered(caller, "anthropic", *said)

    def ask(*missing: int) -> Any:
        kept = [
            it | {"content": it["content"][1:]} if at in missing else it
            for at, it in enumerate(said)
        ]
        return caller.ask("anthropic", body(*kept, **fields()))

    assert [ask(*missing).status_code for missing in [(), (1,), (1, 3), (5,), (3, 5)]] == [200] * 5
    assert error_of(ask(3))[2] == f"messages.5.content.0: {OTHER_CONVERSATION}"


def test_to_take_out_the_named_thought_alone_is_not_enough(caller: Caller) -> None:
    said = answered(caller, "anthropic", *answered(caller, "anthropic", user("One.")))
    changed = [user("Won."), *said[1:]]
    refused = caller.ask("anthropic", body(*changed, **fields()))
    assert error_of(refused)[2].startswith("messages.1.content.0: ")
    changed[1] = changed[1] | {"content": changed[1]["content"][1:]}
    refused = caller.ask("anthropic", body(*changed, **fields()))
    assert error_of(refused)[2].startswith("messages.3.content.0: ")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_drop_block_leaves_out_what_does_not_fit(caller: Caller, provider: str) -> None:
    said = answered(caller, provider, user("One."))
    changed = [user("Won."), *said[1:]]
    drop = fields(thinking=DROP)
    answer = caller.ask(provider, body(*changed, **drop), betas=BINDING)
    dropped = {
        "type": "thinking_dropped",
        "path": "messages.1.content.0",
        "reason": "prefix_binding_mismatch",
    }
    assert answer.json()["input_transformations"] == [dropped]
    stream = events(caller.ask(provider, body(*changed, **drop, stream=True), betas=BINDING).text)
    assert stream[0]["message"]["input_transformations"] == [dropped]
    # What was made after the change stays valid beside what was dropped.
    changed += [assistant(*answer.json()["content"]), user("And?")]
    again = caller.ask(provider, body(*changed, **drop), betas=BINDING)
    assert again.json()["input_transformations"] == [dropped]


@pytest.mark.parametrize(
    ("thinking", "betas", "status"),
    [
        (DROP, "", 400),
        (ADAPTIVE | {"block_binding": {}}, BINDING, 400),
        (ADAPTIVE | {"block_binding": None}, BINDING, 400),
        (ADAPTIVE, BINDING, 400),
        (DROP, BINDING, 200),
    ],
)
def test_only_drop_block_with_its_beta_drops(
    caller: Caller, thinking: Json, betas: str, status: int
) -> None:
    said = answered(caller, "anthropic", user("One."))
    asked = body(user("Won."), *said[1:], **fields(thinking=thinking))
    assert caller.ask("anthropic", asked, betas=betas).status_code == status


def test_another_model_s_thought_is_left_out_without_a_word(caller: Caller) -> None:
    said = answered(caller, "anthropic", user("One."), model="claude-sonnet-4-6")
    answer = caller.ask("anthropic", body(*said, **fields()))
    assert answer.status_code == 200
    assert "input_transformations" not in answer.json()
    told = caller.ask("anthropic", body(*said, **fields()), betas=BINDING)
    assert told.json()["input_transformations"] == [
        {
            "type": "thinking_dropped",
            "path": "messages.1.content.0",
            "reason": "model_binding_mismatch",
        }
    ]


@pytest.mark.parametrize(("mine", "other"), [PROVIDERS, PROVIDERS[::-1]])
def test_another_account_s_thought_is_refused(caller: Caller, mine: str, other: str) -> None:
    said = answered(caller, mine, user("One."))
    refused = caller.ask(other, body(*said, **fields(thinking=DROP)), betas=BINDING)
    message = "messages.1.content.0: Invalid `signature` in `thinking` block"
    assert error_of(refused)[2] == message


@pytest.mark.parametrize(
    "signature",
    [
        "made up",
        "",
        "é",
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b"5").decode(),
        base64.b64encode(json.dumps(["a", "b", "c", "d"]).encode()).decode(),
        base64.b64encode(json.dumps(["a", "b", "c", "\ud800"]).encode()).decode(),
        base64.b64encode(json.dumps(["a", "b", "c", 5]).encode()).decode(),
    ],
)
def test_a_signature_that_is_none(caller: Caller, signature: str) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": signature}
    refused = caller.ask("anthropic", body(user("x"), assistant(thought, "y"), user("z")))
    assert error_of(refused)[2].endswith("Invalid `signature` in `thinking` block")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("model", "thinking", "kinds"),
    [
        ("claude-sonnet-4-5", {}, ["text"]),
        ("claude-opus-4-8", {}, ["text"]),
        ("claude-sonnet-5", {}, ["thinking", "text"]),
        (OPUS, {}, ["thinking", "text"]),
        (OPUS, {"thinking": {"type": "disabled"}}, ["text"]),
    ],
)
def test_the_5_series_thinks_by_default(
    caller: Caller, provider: str, model: str, thinking: Json, kinds: list[str]
) -> None:
    content = caller.ask(provider, body(model=model, **thinking)).json()["content"]
    assert [it["type"] for it in content] == kinds
