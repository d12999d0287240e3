import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import jsonspan
from core.continuity import Conversations, Maker, Recent, Thinking, refusal, settle
from core.match import Matched, match
from core.model import Account, AccountKind, Ask, HttpRequest, HttpResponse, Tokens, Wire
from core.observe import Observation
from core.provider import ThinkingRefusal
from core.providers import known as known_providers
from core.wires import messages

SIGNATURE, CONVERSATION, LOOP = ThinkingRefusal
MANUAL = {"type": "enabled", "budget_tokens": 2000}
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
    settled, thinking = settle(matched, makers(a=HERE, b=HERE), THERE)
    assert thinking == Thinking(removed=2)
    assert conversation(settled) == [ASKED, said(TEXT), ASKED, said(TEXT), ASKED]


def test_its_own_thinking_and_unknown_thinking_stay_byte_for_byte():
    matched = asked(ASKED, said(thought("a"), TEXT), ASKED, said(thought("unseen"), TEXT), ASKED)
    assert settle(matched, makers(a=HERE), HERE) == (matched, Thinking(carried=2))


def test_each_move_leaves_out_what_the_others_made():
    matched = asked(ASKED, said(thought("a"), TEXT), ASKED, said(thought("b"), TEXT), ASKED)
    known = makers(a=HERE, b=THERE)
    there, _ = settle(matched, known, THERE)
    assert conversation(there) == [ASKED, said(TEXT), ASKED, said(thought("b"), TEXT), ASKED]
    here, _ = settle(matched, known, HERE)
    assert conversation(here) == [ASKED, said(thought("a"), TEXT), ASKED, said(TEXT), ASKED]


def test_a_message_that_was_nothing_but_thinking_goes_whole():
    matched = asked(ASKED, said(thought("a"), redacted("b")), ASKED)
    settled, thinking = settle(matched, makers(a=HERE, b=HERE), THERE)
    assert (conversation(settled), thinking) == ([ASKED, ASKED], Thinking(removed=2))


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
    settled, thinking = settle(asked(*turns, thinking=manual), makers(a=HERE), THERE)
    assert thinking == Thinking(removed=1, off=True)
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
    assert settle(matched, makers(a=THERE), other)[1] == Thinking(removed=1)
    assert settle(matched, makers(a=THERE), THERE)[1] == Thinking(carried=1)


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
    settled, thinking = settle(asked(*turns, thinking=manual), makers(a=HERE, b=THERE), THERE)
    assert thinking == Thinking(removed=1, carried=1)
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
    settled, thinking = settle(matched, known, THERE)

    def gone(block: dict[str, Any]) -> bool:
        return block.get("signature", block.get("data")) in foreign

    kept = [said(*(b for b in blocks if not gone(b))) for blocks in turns]
    changed = [any(map(gone, blocks)) for blocks in turns]
    pairs = zip(kept, changed, strict=True)
    expected = [m for m, touched in pairs if m["content"] or not touched]
    assert conversation(settled) == [*expected, ASKED]
    signed = [b for blocks in turns for b in blocks if b.get("signature", b.get("data"))]
    count = sum(map(gone, signed))
    assert thinking == Thinking(removed=count, carried=len(signed) - count)


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


# After a refusal


def refused(known: Conversations, matched: Matched, refusal: ThinkingRefusal) -> Matched:
    """What goes out once the target has refused it so."""
    known.refuse(matched.body, THERE, refusal)
    return settle(matched, known, THERE)[0]


def test_what_is_not_known_to_be_the_account_s_own_is_left_out():
    matched = asked(
        *(ASKED, said(thought("own"), TEXT)),
        *(ASKED, said(redacted("unseen"), TEXT)),
        *(ASKED, said(thought("other"), TEXT), ASKED),
    )
    known = makers(own=THERE, other=HERE)
    again = conversation(refused(known, matched, SIGNATURE))
    assert again == [ASKED, said(thought("own"), TEXT), ASKED, said(TEXT), ASKED, said(TEXT), ASKED]


def test_what_was_refused_is_remembered_of_that_account_alone():
    matched = asked(ASKED, said(thought("unseen"), TEXT), ASKED)
    known = makers()
    known.refuse(matched.body, THERE, SIGNATURE)
    assert settle(matched, known, THERE)[1] == Thinking(removed=1)
    assert settle(matched, known, HERE)[1] == Thinking(carried=1)
    other_model = Maker(THERE.account, "claude-opus-4.5")
    assert settle(matched, known, other_model)[1] == Thinking(carried=1)


@pytest.mark.parametrize("unseen", [[], [thought("unseen")]])
def test_what_has_lost_what_it_was_bound_to_goes_whoever_made_it(unseen):
    matched = asked(ASKED, said(thought("own"), TEXT), ASKED, said(*unseen, TEXT), ASKED)
    again = conversation(refused(makers(own=THERE), matched, CONVERSATION))
    assert again == [ASKED, said(TEXT), ASKED, said(TEXT), ASKED]


def test_where_all_is_its_own_by_what_is_known_none_of_it_is_sent_again():
    matched = asked(ASKED, said(thought("own"), TEXT), ASKED)
    assert conversation(refused(makers(own=THERE), matched, SIGNATURE)) == [
        ASKED,
        said(TEXT),
        ASKED,
    ]


def test_what_was_left_out_the_first_time_does_not_count_as_doubtful():
    """The rest is its own by what is known, and was refused all the same."""
    matched = asked(ASKED, said(thought("own"), TEXT), ASKED, said(thought("other"), TEXT), ASKED)
    known = makers(own=THERE, other=HERE)
    assert conversation(refused(known, matched, SIGNATURE)) == [
        *(ASKED, said(TEXT), ASKED, said(TEXT), ASKED)
    ]


def test_a_loop_that_is_refused_goes_on_without_thinking():
    loop = [ASKED, said(thought("own"), USE), RESULT, said(USE | {"id": "toolu_2"})]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2"}]}
    matched = asked(*loop, result, thinking=MANUAL)
    known = makers(own=THERE)
    assert settle(matched, known, THERE)[1] == Thinking(carried=1)
    again = refused(known, matched, LOOP)
    assert conversation(again) == [*loop, result]
    assert "thinking" not in json.loads(again.request.body)


def test_a_loop_that_comes_back_goes_on_without_thinking():
    """Its first account made the thinking that it begins with; the answer since was given without."""
    known = makers(a=HERE)
    ask, account = Ask(Wire.MESSAGES, "m"), Account("there", "x", AccountKind.SUBSCRIPTION)
    seen = Observation(True, None, Tokens(), None, (), ("toolu_2",))
    known.answered(ask, seen, account, THERE, 0.0, unthinking=True)
    second = said(USE | {"id": "toolu_2"})
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2"}]}
    begun = [ASKED, said(thought("a"), USE), RESULT, second, result]
    back, thinking = settle(asked(*begun, thinking=MANUAL), known, HERE)
    assert thinking == Thinking(carried=1, off=True)
    assert conversation(back) == begun
    assert "thinking" not in json.loads(back.request.body)
    words = {"role": "user", "content": "The images of the tool."}
    assert settle(asked(*begun, words, thinking=MANUAL), known, HERE)[1].off
    for other in ([*begun, said(TEXT), ASKED], begun[:3], [ASKED, second, {"role": "user"}]):
        assert not settle(asked(*other, thinking=MANUAL), known, HERE)[1].off
    assert not settle(asked(*begun, thinking={"type": "adaptive"}), known, HERE)[1].off
    # An answer that its account gave without thinking by itself is as it should be.
    assert not settle(asked(*begun, thinking=MANUAL), makers(a=HERE), HERE)[1].off


@pytest.mark.parametrize(
    ("odd", "calls"),
    [
        ({}, ()),
        ({"messages": []}, ()),
        ({"messages": [RESULT, "words"]}, ()),
        ({"messages": [RESULT, said(TEXT)]}, ()),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, ()),
        ({"messages": [said(USE), RESULT, ASKED]}, ("toolu_1",)),
    ],
)
def test_the_calls_whose_results_a_conversation_ends_in(odd, calls):
    assert messages.pending_calls(jsonspan.parse(json.dumps(odd).encode())) == calls


TEXTS = {
    "messages.1.content.0: Invalid `signature` in `thinking` block": SIGNATURE,
    "messages.1.content.0: Invalid `data` in `redacted_thinking` block": SIGNATURE,
    "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a "
    "different conversation. Remove the block, or set …": CONVERSATION,
    "messages.5.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. "
    "When `thinking` is enabled, a final `assistant` message must start with a thinking block": LOOP,
    "thinking.adaptive.block_binding: Extra inputs are not permitted": None,
    "`max_tokens` must be greater than `thinking.budget_tokens`": None,
}
ENVELOPES = {
    "Anthropic": lambda text: {"type": "error", "error": {"type": "i", "message": text}},
    "Copilot": lambda text: {"error": {"message": text, "code": "invalid_request_body"}},
    "Copilot, bare": lambda text: {"message": text},
    "JSON in JSON": lambda text: {"error": {"message": json.dumps({"error": {"message": text}})}},
}


@pytest.mark.parametrize("provider", ["anthropic", "github-copilot"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("envelope", [*ENVELOPES, "none"])
def test_a_refusal_is_known_in_any_envelope(provider, text, envelope):
    body = json.dumps(ENVELOPES[envelope](text)) if envelope in ENVELOPES else text
    spellings = (body, body.replace("`", "\\u0060"), body.replace("`", ""))
    for spelling in spellings:
        answer = HttpResponse(400, (), spelling.encode())
        assert refusal(known_providers()[provider], answer) is TEXTS[text]


def test_what_is_no_refusal():
    said_so, here = next(iter(TEXTS)).encode(), known_providers()["anthropic"]
    packed = HttpResponse(400, (("Content-Encoding", "gzip"),), gzip.compress(said_so))
    assert refusal(here, packed) is SIGNATURE
    assert refusal(here, replace(packed, body=said_so)) is None
    assert refusal(here, replace(packed, body=gzip.compress(said_so + b" " * (64 << 10)))) is None
    assert refusal(here, HttpResponse(422, (), said_so)) is None
    assert refusal(here, HttpResponse(400, (), b"\xff\xfe")) is None
    assert refusal(known_providers()["openai"], HttpResponse(400, (), said_so)) is None
