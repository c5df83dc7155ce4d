"""Lines with messages: what is well-formed, what is rejected and why, and that they go where pairs go."""

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CALL, TOOL, say
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import DataConfig
from components.data.conversations import parse_conversation
from components.data.drop_checks import check_drop, trim_example
from components.data.kinds import describe_kind
from components.data.merge import merge_drop
from components.data.overlaps import find_overlaps
from components.data.schema import Example, decode_example, format_line, parse_line
from components.errors import DataError, PrefixFleetError

LIMITS = DataConfig()
CALLED = [
    {"role": "user", "content": "which?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "3", "tool_call_id": "1"},
    {"role": "assistant", "content": [{"type": "text", "text": "it is "}, {"type": "text", "text": "3"}]},
]


def line(messages: Any, **values: Any) -> str:
    return json.dumps({"messages": messages, **values})


def test_a_conversation_is_an_example_with_the_last_turn_as_its_reference() -> None:
    example = parse_line(line(CALLED, tools=[TOOL], slice="calls"), LIMITS)
    assert (example.references, example.slice, example.shown_input) == (("it is 3",), "calls", "3")
    assert json.loads(example.source)["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"a": "blue"}'
    assert parse_line(format_line(example), LIMITS) == example
    assert format_line(parse_line(format_line(example), LIMITS)) == format_line(example)
    as_object = json.loads(json.dumps(CALLED))
    as_object[1]["tool_calls"][0]["function"]["arguments"] = {"a": "blue"}
    assert parse_line(line(as_object, tools=[TOOL], slice="calls"), LIMITS) == example
    calling = parse_line(line(CALLED[:2]), LIMITS)
    assert calling.references == ('[{"name": "find", "arguments": {"a": "blue"}}]',)
    assert trim_example(parse_line(line(say(" a\r\nb ", "c ")), LIMITS)).references == ("c",)


CALL_TWO = {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]}
USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
REJECTED = [
    ([], "no list of messages"),
    ("a", "no list of messages"),
    ([USER], "last message is the user's"),
    ([ANSWER], "message 1: role assistant first, where system or user must be"),
    ([USER, ANSWER, ANSWER], "message 3: role assistant after the assistant's message"),
    ([USER, USER, ANSWER], "message 2: role user after the user's message, where assistant must be"),
    ([{"role": "system", "content": "s"}, ANSWER], "where user must be"),
    ([USER, {**ANSWER, "role": "bot"}], "message 2: role 'bot'"),
    ([USER, {**ANSWER, "mood": 1}], "message 2: unknown key 'mood'"),
    ([USER, {**ANSWER, "content": " "}], "message 2: content of the assistant is empty"),
    ([{**USER, "content": 3}, ANSWER], "message 1: content of type int"),
    ([{**USER, "content": [{"type": "image_url"}]}, ANSWER], "part of type 'image_url'"),
    ([USER, CALL_TWO], "tool call 1: arguments are no JSON"),
    ([USER, {"role": "assistant", "tool_calls": []}], "no list of calls"),
    ([USER, {"role": "assistant", "tool_calls": [{"type": "x"}]}], "is no function"),
    ([USER, CALLED[1], USER, ANSWER], "message 3: role user after tool calls, where tool must be"),
    ([USER, CALLED[1], {**CALLED[2], "tool_call_id": "9"}, ANSWER], "tool_call_id '9' of no tool call"),
    ([USER, {**ANSWER, "weight": 2}], "weight 2"),
    ([USER, {**ANSWER, "weight": 0}], "weight 0"),
]


@pytest.mark.parametrize(("messages", "reason"), REJECTED)
def test_why_messages_are_rejected(messages: Any, reason: str) -> None:
    with pytest.raises(DataError) as raised:
        parse_line(line(messages), LIMITS)
    assert reason in raised.value.got


def test_tools_and_lengths_are_checked() -> None:
    for tools, reason in [
        ("x", "tools is no list"),
        ([{"type": "function"}], "tool 1 is no function"),
        ([TOOL, TOOL], "second tool named 'find'"),
        ([{"function": {"name": "look"}}], "no tool named 'find' in tools"),
        ([{"function": {"name": "find", "parameters": "x"}}], "parameters is no object"),
    ]:
        with pytest.raises(DataError) as raised:
            decode_example(line(CALLED, tools=tools))
        assert reason in raised.value.got
    with pytest.raises(DataError) as raised:
        parse_line(line(say("a" * 300, "b")), DataConfig(max_source_chars=200))
    assert "the conversation before the answer (as JSON) has" in raised.value.got
    with pytest.raises(DataError) as raised:
        parse_line(line(say("a", "b" * 30)), DataConfig(max_reference_chars=20))
    assert "the answer has 30 characters" in raised.value.got
    with pytest.raises(DataError, match="unknown key 'source'"):
        parse_line(line(say("a", "b"), source="x"), LIMITS)


def test_a_drop_may_mix_pairs_and_conversations(tmp_path: Path) -> None:
    drop = tmp_path / "acme"
    drop.mkdir()
    pair = json.dumps({"source": 'say "messages"', "references": ["b"]})
    assert describe_kind(drop) == "pairs"
    (drop / "test.jsonl").write_text(f"{pair}\n")
    assert describe_kind(drop) == "pairs"
    (drop / "train.jsonl").write_text("\n".join([pair, line(say("a", "b ")), line(say("a", "b")), line([USER])]) + "\n")
    assert describe_kind(drop) == "conversations"
    report = check_drop(drop, LIMITS)
    assert [one.chat is None for one in report.accepted["train"]] == [True, False, False]
    assert report.trimmed["train"] == 1
    assert [(one.line, one.reason) for one in report.rejects] == [
        (4, "the last message is the user's, not the assistant's")
    ]
    merged = merge_drop(report, None, LIMITS)
    assert (merged.facts.counts["train"].new, merged.facts.counts["train"].duplicates) == (2, 1)


def test_a_held_out_turn_that_is_also_an_earlier_turn_of_a_conversation_in_train_overlaps() -> None:
    def example(*turns: str) -> Example:
        return Example.from_conversation(parse_conversation(say(*turns)))

    (overlap,) = find_overlaps(
        {"train": [example("a", "b", "c", "d")], "test": [example("a", "b"), example("a", "x"), example("b", "c")]}
    )
    assert (overlap.shared, overlap.repeated, overlap.first) == (2, 1, ("a",))


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "user", "function", "{}", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "name", "function", "arguments", "x"]), inner
        )
    ),
    max_leaves=10,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | ANY},
    optional={"content": st.just("a") | ANY, "tool_calls": ANY, "weight": ANY, "name": ANY, "tool_call_id": ANY},
)


@settings(max_examples=300, deadline=None)
@given(messages=st.lists(MESSAGE | ANY, max_size=4) | ANY, tools=st.none() | ANY, part=ANY)
def test_any_messages_are_an_example_or_a_clear_error(messages: Any, tools: Any, part: Any) -> None:
    text = json.dumps({"messages": messages, "tools": tools, "slice": part})
    try:
        example = parse_line(text, LIMITS)
    except PrefixFleetError:
        return
    assert parse_line(format_line(example), LIMITS) == example
