"""Conversations are answered as the evaluation decodes them, and tool calls are read as the template writes them."""

import json
from typing import Any

import pytest
from chat_templates import CHATML, TOOLS_OBJECT, TOOLS_TEXT, make_chat_tokenizer, say
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_models import build_model, make_base

from components.errors import DataError
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.serving.engine.chat_prompts import find_tool_call_form
from components.serving.http.chat_text import make_parser
from components.serving.interface import GenerationRequest, TokenControls

TURN = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' + message.content }}CALLS"
    "{{ '<|im_end|>\n' }}{%- endfor -%}{%- if tools -%}{%- endif -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
QWEN = TURN.replace(
    "CALLS",
    '{%- for call in message.tool_calls or [] -%}{{ \'\n<tool_call>\n{"name": "\' + call.function.name + '
    "'\", \"arguments\": ' + (call.function.arguments | tojson) + '}\n</tool_call>' }}{%- endfor -%}",
)
LIST = TURN.replace(
    "CALLS",
    "{%- if message.tool_calls -%}{{ '[' }}{%- for call in message.tool_calls -%}"
    '{{ \'{"name": "\' + call.function.name + \'", "arguments": \' + (call.function.arguments | tojson) '
    "+ ', \"id\": \"' + call.id + '\"}' }}{{ '' if loop.last else ', ' }}{%- endfor -%}{{ ']' }}{%- endif -%}",
)


def build(template: str) -> Base:
    tokenizer = make_chat_tokenizer("gpt2", template)
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    return make_base(build_model("gpt2", vocab_size=len(tokenizer), n_positions=256, **ends), tokenizer, context=256)


def test_conversations_are_answered_beside_texts_as_the_evaluation_decodes_them(
    make_tenants: Any, answer_all: Any, sources: Any
) -> None:
    base = build(CHATML)
    tenants = make_tenants(base)
    codec, (text_eos, turn_end) = base.chat_codec, base.chat_codec.stop_ids
    assert text_eos == base.eos_id
    conversations = [say("cat"), say("the cat", "sat", "on a mat?"), say("blue", system="spice is cheap")]
    # A bias towards the template's end of a turn lets some rows end by it, before end-of-text.
    ending = TokenControls(logit_bias=((turn_end, 2.0),))
    plain = [
        GenerationRequest(artifact, json.dumps({"messages": messages}), is_chat=True, max_tokens=12)
        for artifact, messages in zip(tenants.artifacts, conversations, strict=False)
    ]
    many = [GenerationRequest(one.artifact, one.source, is_chat=True, max_tokens=12, num_beams=3) for one in plain]
    ended = [GenerationRequest(one.artifact, one.source, is_chat=True, max_tokens=99, controls=ending) for one in plain]
    text = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=6)
    answers = answer_all(tenants, [*plain, *many, *ended, text], rows=14)
    for beams, own in ((1, answers[:3]), (3, answers[3:6])):
        decoding = Decoding(max_new_tokens=12, num_beams=beams)
        prompts = [codec.encode_prompt(messages) for messages in conversations]
        deltas = [tenants.deltas[one.artifact.tenant] for one in plain]
        assert [answer[0] for answer in own] == [
            codec.decode(ids) for ids in generate_each(base, deltas, prompts, decoding, 3)
        ]
    assert any(finish == "stop" for _, finish in answers[6:9])
    assert not any("<|im_end|>" in answer for answer, _ in answers[6:9])
    assert answers[9] == tenants.answer_alone(text)


def test_a_conversation_that_a_base_cannot_read_is_refused(build_base: Any, make_tenants: Any, answer_all: Any) -> None:
    source = json.dumps({"messages": say("x " * 200)})
    for kind, message in (("long", "fewer than 256 tokens"), ("bart", "messages for an encoder-decoder base")):
        base = build(CHATML) if kind == "long" else build_base(kind)
        tenants = make_tenants(base)
        (problem,) = answer_all(tenants, [GenerationRequest(tenants.artifacts[0], source, is_chat=True)])
        assert isinstance(problem, DataError)
        assert message in str(problem)
        tenants.store.folder.rename(tenants.store.folder.with_name(kind))


NAMES = ("find", "find_all", "x-1")
ARGUMENTS = st.dictionaries(
    st.text(st.characters(codec="ascii", exclude_characters="<|"), max_size=5),
    st.integers() | st.text('ab {}"[]\\é', max_size=8) | st.lists(st.booleans(), max_size=2),
    max_size=3,
)


@pytest.mark.parametrize("template", [QWEN, LIST, TOOLS_OBJECT, TOOLS_TEXT], ids=["qwen", "list", "object", "text"])
def test_calls_are_read_as_the_template_writes_them(template: str) -> None:
    base = build(template)
    form = find_tool_call_form(base)
    parser = make_parser(form, NAMES)
    assert parser is not None

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        calls=st.lists(st.tuples(st.sampled_from(NAMES), ARGUMENTS), min_size=1, max_size=3),
        said=st.sampled_from(["", "I look."]),
    )
    @example(calls=[("find", {"'": 0})], said="")
    def check(calls: Any, said: str) -> None:
        listed = [
            {"id": f"abcdefgh{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
            for number, (name, given) in enumerate(calls)
        ]
        messages: Any = [*say("cat"), {"role": "assistant", "content": said, "tool_calls": listed}]
        (row,) = base.chat_codec.encode_conversation(messages, [tool(name) for name in NAMES], turns="last")
        content, read = parser.parse(base.chat_codec.decode_last_turn(row))
        assert [(one.name, json.loads(one.arguments)) for one in read] == calls
        assert content == said

    check()


def tool(name: str) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def test_a_template_without_tool_calls_has_no_form(build_base: Any) -> None:
    assert find_tool_call_form(build(CHATML)) is None
    assert find_tool_call_form(build_base("gpt2")) is None
    assert find_tool_call_form(build_base("bart")) is None
