import json
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from json_spelling import objects, seeds, spelled, values

from core import jsonspan
from core.jsonspan import JsonError, Node, Splice, apply, parse


def read(node: Node) -> Any:
    """The value, put together from spans alone."""
    if node.is_object:
        return {key: read(value) for key, value in node.members()}
    if node.is_array:
        return [read(element) for element in node.items()]
    return node.decode()


def every(node: Node) -> list[Node]:
    inside = [value for _, value in node.members()] + node.items()
    return [node, *(found for child in inside for found in every(child))]


@given(values, seeds)
def test_the_spans_hold_the_value(value: Any, seed: int) -> None:
    node = parse(spelled(value, seed))
    assert read(node) == value
    assert node.decode() == value


@given(objects, seeds)
def test_members_come_in_order_and_are_found_by_name(value: dict[str, Any], seed: int) -> None:
    node = parse(spelled(value, seed))
    assert [(key, found.decode()) for key, found in node.members()] == list(value.items())
    for key, expected in value.items():
        found = node.get(key)
        assert found is not None
        assert found.decode() == expected


@given(values, seeds)
def test_a_span_is_its_value_without_the_space_around_it(value: Any, seed: int) -> None:
    for node in every(parse(spelled(value, seed))):
        assert node.raw == node.raw.strip(b" \t\r\n") != b""
        assert node.raw == node.text[node.start : node.end]


@given(objects, seeds, st.data())
def test_without_takes_out_just_these_members(
    value: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    text = spelled(value, seed)
    doomed = data.draw(st.sets(st.sampled_from([*value, "not there"])))
    node = parse(text)
    left = apply(text, node.without(doomed))
    assert json.loads(left) == {key: each for key, each in value.items() if key not in doomed}
    raw = {key: found.raw for key, found in node.members()}
    assert {key: found.raw for key, found in parse(left).members()} == {
        key: raw[key] for key in value if key not in doomed
    }
    if not doomed & set(value):
        assert left == text


@pytest.mark.parametrize(
    ("text", "keys", "left"),
    [
        (b'{"a":1,"b":2,"c":3}', ["a"], b'{"b":2,"c":3}'),
        (b'{"a":1,"b":2,"c":3}', ["b"], b'{"a":1,"c":3}'),
        (b'{"a":1,"b":2,"c":3}', ["c"], b'{"a":1,"b":2}'),
        (b'{"a":1,"b":2,"c":3}', ["a", "c"], b'{"b":2}'),
        (b'{"a":1,"b":2,"c":3}', ["b", "c"], b'{"a":1}'),
        (b'{"a":1,"b":2,"c":3}', ["a", "b", "c"], b"{}"),
        (b'{ "a" : 1 , "b" : 2 }', ["a"], b'{ "b" : 2 }'),
        (b'{ "a" : 1 , "b" : 2 }', ["b"], b'{ "a" : 1 }'),
        (b'{ "a" : 1 }', ["a"], b"{  }"),
        (b'{"\\u0061":1,"b":2}', ["a"], b'{"b":2}'),
        (b"[1]", ["a"], b"[1]"),
    ],
)
def test_without_takes_the_comma_along(text: bytes, keys: list[str], left: bytes) -> None:
    assert apply(text, parse(text).without(keys)) == left


@given(values, seeds, values, seeds)
def test_replace_changes_one_span(value: Any, seed: int, new: Any, new_seed: int) -> None:
    text = spelled(value, seed)
    node = Random(seed).choice(every(parse(text)))
    raw = spelled(new, new_seed)
    changed = apply(text, [node.replace(raw)])
    assert changed == text[: node.start] + raw + text[node.end :]
    assert read(parse(changed)) == json.loads(changed)


@given(st.lists(objects, max_size=3), seeds)
def test_edits_at_several_depths_compose(inner: list[dict[str, Any]], seed: int) -> None:
    value = {
        "x": 1,
        "gone": {"x": 2},
        "tools": [each | {"doomed": each, "id": 0} for each in inner],
    }
    text = spelled(value, seed)
    node = parse(text)
    tools = node.get("tools")
    assert tools is not None
    edits = [*node.without(["gone"])]
    for tool in tools.items():
        number = tool.get("id")
        assert number is not None
        edits += [number.replace(b'"new"'), *tool.without(["doomed"])]
    Random(seed).shuffle(edits)
    kept = [{k: v for k, v in each.items() if k != "doomed"} | {"id": "new"} for each in inner]
    assert json.loads(apply(text, edits)) == {"x": 1, "tools": kept}


def test_splices_that_overlap_are_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="overlap at byte 2"):
        apply(b"abcd", [Splice(0, 3, b""), Splice(2, 4, b"")])


def test_splices_may_touch() -> None:
    assert apply(b"abcd", [Splice(2, 4, b"Y"), Splice(0, 2, b"X")]) == b"XY"


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":12,"a":1}',
        b'{"a":1,"a":12}',
        b'{"a":1.5,"a":1}',
        b'{"a":1e5,"a":1}',
        b'{"a":-1,"a":1}',
        b'{"a":"x","a":"x"}',
        b'{"a":"x","a":"y"}',
        b'{"a":"x,\\"a\\":1","a":"x"}',
        b'{"a":[1],"a":[1,2]}',
        b'{"a":{},"a":{}}',
        b'{"a":1,"b":2,"a":1}',
        b'{"b":2,"a":1,"a":12,"c":3}',
        b'{"model":"x","mod\\u0065l":"x"}',
        b'{"mod\\u0065l":"xy","model":"x"}',
        b'{"model":"x","\\u006dodel":"y"}',
        b'{"a/b":1,"a\\/b":1}',
        '{"é":1,"\\u00e9":1}'.encode(),
    ],
)
def test_a_repeated_key_is_refused(text: bytes) -> None:
    node = parse(text)
    with pytest.raises(JsonError, match="twice"):
        list(node.members())
    with pytest.raises(JsonError, match="twice"):
        node.get("nothing")
    with pytest.raises(JsonError, match="twice"):
        list(node.without(["a"]))


@given(objects.filter(bool), values, seeds)
def test_a_repeated_key_is_refused_wherever_it_stands(
    value: dict[str, Any], other: Any, seed: int
) -> None:
    random = Random(seed)
    key = random.choice(list(value))
    other = random.choice([other, value[key]])
    members = [spelled({name: each}, seed).strip()[1:-1] for name, each in value.items()]
    members.insert(random.randint(0, len(members)), spelled({key: other}, seed + 1).strip()[1:-1])
    with pytest.raises(JsonError):
        list(parse(b"{" + b",".join(members) + b"}").members())


_NOISE = (rb'"[[[{{{"', rb'"\"[[["', rb'"\\"', rb'"\\\"{{{"', rb'"\\\\"', b"1", b"[]", b"{}")


@given(st.lists(st.booleans(), min_size=195, max_size=206), st.sampled_from(_NOISE))
@example([True] * 200, b"1")
@example([True] * 201, b"1")
@example([False] * 201, b"1")
@example([True, False] * 150, b"1")
@example([False, True] * 101, b'"\\\\"')
def test_two_hundred_levels_and_no_more(arrays: list[bool], noise: bytes) -> None:
    """Arrays and objects mixed; brackets in strings, escaped quotes and backslashes do not count."""
    opening = [b"[" + noise + b"," if array else b'{"' + b'a":' for array in arrays]
    closing = [b"]" if array else b',"z":' + noise + b"}" for array in reversed(arrays)]
    text = b"".join([*opening, b"0", *closing])
    beside = 1 if noise in (b"[]", b"{}") else 0
    if len(arrays) + beside > 200:
        with pytest.raises(JsonError, match="deeper than 200"):
            parse(text)
    else:
        assert parse(text).decode() == json.loads(text)


@pytest.mark.parametrize("noise", _NOISE)
@pytest.mark.parametrize("depth", [1, 198, 199])
def test_a_wide_text_is_not_a_deep_one(noise: bytes, depth: int) -> None:
    """The brackets are many, so the levels are really counted."""
    text = b"[%b," % noise * depth + b",".join([b'{"a":%b,"\\"":0}' % noise] * 300) + b"]" * depth
    if depth + 1 + (noise in (b"[]", b"{}")) > 200:
        with pytest.raises(JsonError, match="deeper than 200"):
            parse(text)
    else:
        assert parse(text).decode() == json.loads(text)


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_a_bottomless_text_is_refused(pair: tuple[bytes, bytes], depth: int) -> None:
    for text in (pair[0] * depth, pair[0] * depth + b"0" + pair[1] * depth):
        with pytest.raises(JsonError):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":1',
        b'{"a":1,',
        b'{"a":1,}',
        b"[1,]",
        b"[1",
        b'"abc',
        b"tru",
        b"1 2",
        b"{} x",
        b"{}{}",
        b"NaN",
        b"Infinity",
        b"01",
        b"1.",
        b"+1",
        b"'a'",
        b'{a":1}',
        b'"\\x"',
        b'"\\u12"',
        b'"a\nb"',
        b'"\x00"',
        b"[1}",
        b"\xef\xbb\xbf{}",
        b"// no\n{}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\ud800 and more than enough text behind it"}',
        b'{"a":"\\udc00 and more than enough text behind it"}',
        b'{"a":"\\ud800\\u0041"}',
        b'{"\\ud800":1, "b": "and more than enough text behind it"}',
    ],
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError):
        parse(text)


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf8\x88\x80"])
def test_what_is_not_utf_8_is_refused(bad: bytes) -> None:
    with pytest.raises(JsonError, match="byte 9 is not UTF-8"):
        parse(b'{"abc": "' + bad + b'"}')


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5000])
def test_a_number_beyond_measure_can_be_kept_but_not_read(number: bytes) -> None:
    text = b'{"big":%b,"model":"x"}' % number
    node = parse(text)
    assert [(key, value.raw) for key, value in node.members()] == [
        ("big", number),
        ("model", b'"x"'),
    ]
    with pytest.raises(JsonError):
        node.decode()


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse(b'"\\ud83d\\ude00"').decode() == "😀"


@given(
    st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ua01e-. \n', max_size=30).map(str.encode)
)
@example(b'{"a":{"b":1,"b":2}}')
def test_any_bytes_are_a_value_or_an_error(text: bytes) -> None:
    try:
        node = parse(text)
    except JsonError:
        return
    try:
        value = read(node)
    except JsonError:
        return
    assert value == json.loads(text)


@given(values, seeds, st.data())
def test_a_text_cut_short_or_gone_on_is_refused(value: Any, seed: int, data: st.DataObject) -> None:
    text = b"[" + spelled(value, seed) + b"]"
    with pytest.raises(JsonError):
        parse(text[: data.draw(st.integers(0, len(text) - 1))])
    with pytest.raises(JsonError):
        parse(text + b"]")


@pytest.mark.parametrize(
    ("text", "string", "members", "items"),
    [
        (b' "a" ', "a", 0, 0),
        (b'""', "", 0, 0),
        (b"1", None, 0, 0),
        (b"null", None, 0, 0),
        (b'{"a":[1,2]}', None, 1, 0),
        (b"[1,2]", None, 0, 2),
        (b"[]", None, 0, 0),
        (b"{ }", None, 0, 0),
        (b"[ ]", None, 0, 0),
    ],
)
def test_each_kind_of_value(text: bytes, string: str | None, members: int, items: int) -> None:
    node = parse(text)
    assert (node.string(), len(list(node.members())), len(node.items())) == (string, members, items)
    assert node.get("b") is None


@given(st.text(alphabet="abcde$", max_size=5), seeds)
def test_a_word_is_found_however_it_is_spelled(word: str, seed: int) -> None:
    pattern = jsonspan.spelled(word)
    assert pattern.search(spelled({"x": [word]}, seed))
    assert not pattern.search(spelled({"x": [word + "!", "!" + word]}, seed))


def test_a_word_quoted_inside_a_string_is_not_a_string_of_its_own() -> None:
    assert not jsonspan.spelled("scope").search(json.dumps('{"scope": 1}').encode())


@pytest.mark.parametrize(
    ("text", "last"),
    [
        (b"[]", None),
        (b"[ \n]", None),
        (b'{"a": [1]}', None),
        (b"7", None),
        (b"[1]", b"1"),
        (b'[1, {"a": [2, 3]} \t\r\n ]', b'{"a": [2, 3]}'),
        (b'[ "a", "b ] " ]', b'"b ] "'),
    ],
)
def test_the_last_element_is_found_without_the_others(text: bytes, last: bytes | None) -> None:
    found = parse(text).last_item()
    assert (found and found.raw) == last
    items = parse(text).items()
    assert found == (items[-1] if items else None)
