"""The chat endpoint as OpenAI's own client uses it, over an engine in memory."""

import json

import openai
import pytest

HELLO = [{"role": "user", "content": "thing: boat"}]
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
CALL = '<tool_call>\n{"name": "find", "arguments": {"what": "a boat"}}\n</tool_call>'


@pytest.fixture
def talk(ask, fleet):
    """Run an async function of the official client against the application, after alder's champion reads chats."""

    def run(work, *, words=None):
        fleet.registry.register("alder", 3, "champion", input="conversations")
        fleet.engine.words, fleet.engine.context = words, 1000

        async def main(http_client, service):
            async with openai.AsyncOpenAI(
                api_key="none", base_url="http://localhost/v1", http_client=http_client, max_retries=0
            ) as client:
                return await work(client.chat.completions)

        return ask(main)

    return run


def test_a_conversation_is_answered_with_provenance_logprobs_samples_and_usage(talk, fleet):
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "where is "}, {"type": "text", "text": "it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call("find", '{"a": 1}')]},
        {"role": "tool", "tool_call_id": "c1", "content": "here"},
    ]

    async def work(chat):
        raw = await chat.with_raw_response.create(
            model="alder",
            messages=messages,
            tools=TOOLS,
            max_completion_tokens=2,
            n=2,
            seed=5,
            stop="x",
            logprobs=True,
            top_logprobs=1,
            safety_identifier="someone",
            metadata={"a": "b"},
        )
        return raw.headers, raw.parse()

    headers, answer = talk(work)
    assert headers["x-prefixfleet-tenant"] == "alder"
    assert (headers["x-prefixfleet-version"], headers["x-prefixfleet-arm"]) == ("2", "champion")
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "alder")
    assert [choice.message.content for choice in answer.choices] == ["3.0 3.1"] * 2
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    (first, second) = answer.choices[0].logprobs.content
    assert (first.token, first.logprob, bytes(first.bytes)) == ("3.0 ", -0.5, b"3.0 ")
    assert [(one.token, one.logprob) for one in second.top_logprobs] == [("3.1", -0.5)]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 4)
    row = fleet.engine.requests[0]
    assert (row.is_chat, row.seed, row.stop, row.logprobs, row.max_tokens) == (True, 5, ("x",), 1, 2)
    sent = json.loads(row.source)
    assert sent["tools"] == TOOLS
    assert sent["messages"] == [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "where is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call("find", '{"a": 1}')]},
        {"role": "tool", "content": "here", "tool_call_id": "c1"},
    ]


def call(name, arguments):
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("words", "content", "arguments"),
    [
        (["I look ", CALL[:4], CALL[4:30], CALL[30:]], "I look", [{"what": "a boat"}]),
        ([CALL, CALL], None, [{"what": "a boat"}] * 2),
        (["<think>hm", "</think>\n\n", "It is ", "<tool", " here"], "It is <tool here", []),
        (["<thin", "g> x"], "<thing> x", []),
        (["say ", '<tool_call>\n{"name": "find", "arguments": {"what'], None, []),
        (["plain ", "text"], "plain text", []),
    ],
    ids=["text and call", "two calls", "thoughts", "no thoughts", "unfinished", "plain"],
)
def test_thoughts_are_left_out_and_tool_calls_are_parsed_in_answers_and_streams(talk, words, content, arguments):
    content = "".join(words) if content is None and not arguments else content

    async def work(chat):
        whole = await chat.create(model="alder", messages=HELLO, tools=TOOLS, tool_choice="auto")
        chunks = await chat.create(
            model="alder", messages=HELLO, tools=TOOLS, stream=True, stream_options={"include_usage": True}
        )
        return whole, [chunk async for chunk in chunks]

    whole, chunks = talk(work, words=words)
    message = whole.choices[0].message
    assert message.content == content
    assert [json.loads(one.function.arguments) for one in message.tool_calls or ()] == arguments
    assert whole.choices[0].finish_reason == ("tool_calls" if arguments else "stop")
    *pieces, last = chunks
    assert (last.choices, last.usage.completion_tokens) == ([], len(words))
    deltas = [chunk.choices[0].delta for chunk in pieces]
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta.content or "" for delta in deltas) == (content or "")
    calls = [one for delta in deltas for one in delta.tool_calls or ()]
    assert [(one.index, json.loads(one.function.arguments)) for one in calls] == list(enumerate(arguments))
    assert [chunk.choices[0].finish_reason for chunk in pieces if chunk.choices[0].finish_reason] == [
        whole.choices[0].finish_reason
    ]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_a_tenant_of_pairs_reads_one_message_of_the_user_and_a_prompt_is_one_message(talk, fleet, ask):
    async def work(chat):
        await chat.create(model="birch", messages=HELLO)
        await chat._client.completions.create(model="alder", prompt="thing: boat")
        with pytest.raises(openai.BadRequestError, match="one message of the user, which is the source"):
            await chat.create(model="birch", messages=[{"role": "system", "content": "x"}, *HELLO])
        with pytest.raises(openai.NotFoundError):
            await chat.create(model="nobody", messages=HELLO)

    talk(work)
    birch, alder = fleet.engine.requests
    assert (birch.source, birch.is_chat) == ("thing: boat", False)
    assert (json.loads(alder.source), alder.is_chat) == ({"messages": HELLO}, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": []}, "messages: at least 1 item"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "a last message that is not the assistant's"),
        ({"messages": [{"role": "x", "content": ""}]}, "role: 'system', 'developer', 'user', 'assistant' or 'tool'"),
        ({"messages": [{"content": "x"}]}, "a value for messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "image": "x"}]}]}, "0.type: 'text'; got 'image'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "a value for messages.0.content.0.text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "", "a": 1}]}]},
            "unknown key 'a' (messages.0.content.0)",
        ),
        ({"messages": [{"role": "user"}]}, "a value for messages.0.content"),
        ({"tools": TOOLS, "tool_choice": "required"}, "tool_choice: no value, as it is not supported"),
        ({"tool_choice": "auto"}, "tool_choice only together with tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls: no value, as it is not supported"),
        ({"functions": [{"name": "f"}]}, "functions: no value, as it is not supported"),
        ({"top_logprobs": 2}, "top_logprobs only together with logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "less than or equal to 20"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens or max_tokens, not both"),
        ({"reasoning_effort": "high"}, "reasoning_effort: no value, as it is not supported"),
        ({"mesages": 1}, "did you mean 'messages'"),
        ({"response_format": {"type": "xml"}}, "response_format.type: 'text', 'json_object' or 'json_schema'"),
        ({"response_format": {"type": "json_schema"}}, "json_schema together with type json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "name (a text) and schema"),
        ({"response_format": {"type": "json_object"}, "stop": "x"}, "response_format without stop"),
        ({"response_format": {"type": "json_object"}, "tools": TOOLS}, "either tools"),
        ({"max_tokens": 5000}, "at most 1024 max_tokens"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, "at most 20000 characters in the messages"),
    ],
)
def test_what_is_not_supported_is_refused_in_openais_shape(ask, fleet, change, message):
    async def post(client, _service):
        return await client.post("/v1/chat/completions", json={"model": "alder", "messages": HELLO, **change})

    answer = ask(post)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert message in error["message"]
    assert fleet.engine.requests == []


def test_a_response_format_becomes_the_schema_of_each_row(talk, fleet):
    fleet.set_params(evaluate={"max_new_tokens": 6, "num_beams": 3, "min_new_tokens": 2})
    schema = {"type": "object", "properties": {"where": {"type": "string"}}}
    named = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}

    async def work(chat):
        for given in (named, {"type": "json_object"}, {"type": "text"}):
            await chat.create(model="alder", messages=HELLO, response_format=given)
        await chat._client.completions.create(model="birch", prompt="x", extra_body={"response_format": named})

    talk(work)
    rows = fleet.engine.requests
    schemas = [json.loads(row.controls.json_schema or "null") for row in rows]
    assert schemas == [schema, {"type": "object"}, None, schema]
    assert [row.num_beams for row in rows] == [1, 1, 3, 1]
    assert [row.controls.min_new_tokens for row in rows] == [0, 0, 2, 0]


def test_quotas_observations_and_feedback_are_those_of_completions(ask, fleet, observe):
    fleet.set_params(tenants={"birch": {"access": {"requests_per_minute": 1}}})

    async def use(client, service):
        first, second = [
            await client.post("/v1/chat/completions", json={"model": name, "messages": HELLO})
            for name in ("birch", "birch")
        ]
        rated = await client.post("/v1/chat/completions", json={"model": "alder", "messages": HELLO})
        feedback = await client.post("/v1/feedback", json={"id": rated.json()["id"], "rating": 1, "text": "a boat"})
        return first.status_code, second.status_code, feedback.status_code, await observe(service)

    first, second, feedback, observations = ask(use)
    assert (first, second, feedback) == (200, 429, 200)
    assert [(one.arm, one.requests) for one in observations] == [("champion", 1)]
