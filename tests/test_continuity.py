import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import jsonspan
from core.continuity import Conversations, Maker, Recent, settle
from core.match import Matched, match
from core.model import Account, AccountKind, Ask, HttpRequest, Tokens, Wire
from core.observe import Observation
from core.wires import messages

HERE, THERE = Maker("anthropic/a", None), Maker("github-copilot/b", "claude-sonnet-4.5")
TEXT = {"type": "text", "text": "So be it."}
USE = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"signature": "here"}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]}
ASKED = {"role": "user", "content": "And the signature of redacted_thinking?"}


def thought(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "Hm.", "signature": signature}


def redacted(data: str) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def asked(*conversation: dict[str, Any], **fields: Any) -> Matched:
    body = {"messages": list(conversation), "model": "limit-router/m", **fields}
    text = json.dumps(body, indent=1).encode()
    request = HttpRequest("POST", "https", "limit-router.invalid", 443, "/v1/messages", (), text)
    found = match(request, ("m",))
    assert isinstance(found, Matched)
    return found


def makers(**known: Maker) -> Conversations:
    remembered = Conversations()
    for signature, maker in known.items():
        remembered.makers.learn([signature], maker)
    return remembered


def conversation(matched: Matched) -> Any:
    body = json.loads(matched.request.body)
    assert body["model"] == "limit-router/m" == matched.model.string()
    assert matched.body.text == matched.request.body
    return body["messages"]


def test_another_account_s_thinking_is_left_out_and_nothing_else():
    matched = asked(ASKED, said(thought("a"), TEXT), ASKED, said(redacted("b"), TEXT), ASKED)
    settled, removed = settle(matched, makers(a=HERE, b=HERE), THERE)
    assert removed == 2
    assert conversation(settled) == [ASKED, said(TEXT), ASKED, said(TEXT), ASKED]


def test_its_own_thinking_and_unknown_thinking_stay_byte_for_byte():
    matched = asked(ASKED, said(thought("a"), TEXT), ASKED, said(thought("unseen"), TEXT), ASKED)
    assert settle(matched, makers(a=HERE), HERE) == (matched, 0)


def test_each_move_leaves_out_what_the_others_made():
    matched = asked(ASKED, said(thought("a"), TEXT), ASKED, said(thought("b"), TEXT), ASKED)
    known = makers(a=HERE, b=THERE)
    there, _ = settle(matched, known, THERE)
    assert conversation(there) == [ASKED, said(TEXT), ASKED, said(thought("b"), TEXT), ASKED]
    here, _ = settle(matched, known, HERE)
    assert conversation(here) == [ASKED, said(thought("a"), TEXT), ASKED, said(TEXT), ASKED]


def test_a_message_that_was_nothing_but_thinking_goes_whole():
    matched = asked(ASKED, said(thought("a"), redacted("b")), ASKED)
    settled, removed = settle(matched, makers(a=HERE, b=HERE), THERE)
    assert (conversation(settled), removed) == ([ASKED, ASKED], 2)


@pytest.mark.parametrize(
    ("thinking", "left"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, None),
        ({"type": "adaptive"}, {"type": "adaptive"}),
    ],
)
def test_in_a_tool_loop_manual_thinking_goes_with_it(thinking, left):
    matched = asked(ASKED, said(thought("a"), USE), RESULT, thinking=thinking)
    settled, _ = settle(matched, makers(a=HERE), THERE)
    assert json.loads(settled.request.body).get("thinking") == left
    assert conversation(settled) == [ASKED, said(USE), RESULT]


def test_a_tool_loop_that_moved_goes_on_without_thinking():
    """The answer that came after the move has none, so that no thought begins the last answer."""
    manual = {"type": "enabled", "budget_tokens": 2000}
    turns = [ASKED, said(thought("a"), USE), RESULT, said(USE), RESULT]
    settled, removed = settle(asked(*turns, thinking=manual), makers(a=HERE), THERE)
    assert removed == 1
    assert "thinking" not in json.loads(settled.request.body)


def test_between_turns_thinking_stays_on():
    manual = {"type": "enabled", "budget_tokens": 2000}
    matched = asked(ASKED, said(thought("a"), TEXT), ASKED, thinking=manual)
    settled, _ = settle(matched, makers(a=HERE), THERE)
    assert json.loads(settled.request.body)["thinking"] == manual


@pytest.mark.parametrize(
    "odd",
    [
        {"messages": "thinking", "signature": 1},
        {"messages": [{"role": "assistant", "content": "signature"}]},
        {"messages": [{"signature": "a", "content": {"type": "thinking", "signature": "a"}}]},
        {"messages": [said({"type": "thinking", "signature": 7}), said({"signature": "a"})]},
        {"messages": [said({"type": "thinking", "thinking": "signature", "signature": ""})]},
        {"messages": [USE, {"content": [USE, "signature", None]}]},
        {"signature": "a"},
    ],
)
def test_what_only_looks_like_it_is_let_alone(odd):
    body = jsonspan.parse(json.dumps(odd).encode())
    assert [b for b in messages.signed_blocks(body) if b.signature == "a"] == []


def test_a_model_that_is_bound_is_another_maker():
    matched = asked(ASKED, said(thought("a"), TEXT), ASKED)
    other = Maker(THERE.account, "claude-opus-4.5")
    assert settle(matched, makers(a=THERE), other)[1] == 1
    assert settle(matched, makers(a=THERE), THERE)[1] == 0


def test_the_longest_unseen_is_forgotten_first():
    remembered: Recent[int] = Recent(limit=2)
    for key in "abac":
        remembered.learn([key], ord(key))
    assert [remembered.get(key) for key in "abc"] == [ord("a"), None, ord("c")]
    assert len(remembered) == 2


def test_no_signature_is_kept_as_it_is():
    remembered = makers(secretive=HERE)
    assert b"secretive" not in repr(remembered.makers.__dict__).encode()


def test_in_a_tool_loop_only_the_last_answer_s_thinking_counts():
    manual = {"type": "enabled", "budget_tokens": 2000}
    turns = [ASKED, said(thought("a"), TEXT), ASKED, said(thought("b"), USE), RESULT]
    settled, removed = settle(asked(*turns, thinking=manual), makers(a=HERE, b=THERE), THERE)
    assert removed == 1
    assert json.loads(settled.request.body)["thinking"] == manual
    assert conversation(settled)[3] == said(thought("b"), USE)


BLOCKS = st.lists(
    st.sampled_from([thought("a"), thought("b"), redacted("c"), thought("d"), TEXT, USE]),
    max_size=6,
)


@given(st.lists(BLOCKS, max_size=6), st.sets(st.sampled_from("abcd")))
def test_what_is_left_is_what_a_list_comprehension_leaves(turns, foreign):
    matched = asked(*(said(*blocks) for blocks in turns), ASKED)
    known = makers(**dict.fromkeys(foreign, HERE))
    settled, removed = settle(matched, known, THERE)

    def gone(block: dict[str, Any]) -> bool:
        return block.get("signature", block.get("data")) in foreign

    kept = [said(*(b for b in blocks if not gone(b))) for blocks in turns]
    changed = [any(map(gone, blocks)) for blocks in turns]
    pairs = zip(kept, changed, strict=True)
    expected = [m for m, touched in pairs if m["content"] or not touched]
    assert conversation(settled) == [*expected, ASKED]
    assert removed == sum(gone(block) for blocks in turns for block in blocks)


def test_a_tool_loop_belongs_to_who_called_the_tool_and_else_to_the_session():
    known = Conversations()
    here, there = (Account(name, "x", AccountKind.SUBSCRIPTION) for name in ("here", "there"))
    ask = Ask(Wire.MESSAGES, "m")
    seen = Observation(True, None, Tokens(), None, (), ("toolu_1", "toolu_2"))
    known.answered(ask, seen, here, HERE, 0.0)
    known.served(replace(ask, session="s"), there)
    assert known.incumbent(ask) is None
    assert known.incumbent(replace(ask, tool_call="toolu_2")) == here.id
    assert known.incumbent(replace(ask, tool_call="toolu_9")) is None
    assert known.incumbent(replace(ask, session="s")) == there.id
    assert known.incumbent(replace(ask, session="s", model="n")) is None
    assert known.incumbent(replace(ask, session="s", tool_call="toolu_1")) == here.id
    assert known.incumbent(replace(ask, session="s", tool_call="toolu_9")) == there.id
