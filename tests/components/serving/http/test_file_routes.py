"""Files through OpenAI's client: stored only if every line is an example, seen by their owner alone."""

import json

import openai
import pytest
from waiting import LIMIT_S


def chat(number=0, **more):
    messages = [{"role": "user", "content": f"thing {number}"}, {"role": "assistant", "content": "a boat"}]
    return {"messages": messages, **more}


def write(*lines):
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


GOOD = write(*map(chat, range(3)))


def connect(client, key="none"):
    return openai.AsyncOpenAI(
        api_key=key, base_url="http://localhost/v1", http_client=client, max_retries=0, timeout=LIMIT_S
    )


def list_stored(root):
    return [path for path in (root / "var" / "uploads").rglob("*") if path.is_file()]


async def upload(client, content=GOOD, name="train.jsonl", key="none", **more):
    return await connect(client, key).files.create(file=(name, content), purpose="fine-tune", **more)


def test_a_file_is_uploaded_listed_read_and_deleted(ask, fleet):
    async def talk(client, _service):
        files = connect(client).files
        made = [await upload(client, GOOD * count, f"{count}.jsonl") for count in (1, 2)]
        assert (made[0].object, made[0].bytes, made[0].status) == ("file", len(GOOD), "processed")
        assert await files.retrieve(made[0].id) == made[0]
        assert (await files.content(made[1].id)).content == GOOD * 2
        first = await files.list(limit=1, order="asc")
        assert [first.data[0].id, first.has_more] == [made[0].id, True]
        assert [file.id async for file in files.list(limit=1)] == [made[1].id, made[0].id]
        assert (await files.list(purpose="batch")).data == []
        assert (await files.delete(made[0].id)).deleted
        with pytest.raises(openai.NotFoundError):
            await files.retrieve(made[0].id)

    ask(talk)
    assert len(list_stored(fleet.root)) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "add examples"),
        (b"a,b\n1,2\n", "train.jsonl, line 1: broken JSON"),
        (b"[1, 2]\n", "line 1: JSON of type list"),
        (write(chat(), "text"), "line 2: JSON of type str"),
        (write(chat(), {"messages": [{"role": "robot", "content": "x"}]}), "line 2: .*robot"),
        (write({"messages": [{"role": "assistant", "content": "x"}]}), "line 1: .*assistant first"),
        (write(chat(wieght=1)), "unknown key 'wieght'"),
        (write({"prompt": "x", "completion": 1}), "no text 'completion'"),
        (b"\xff" + GOOD, "not UTF-8"),
        (b"PK\x03\x04" + GOOD, "zip archive"),
    ],
)
def test_content_that_is_no_training_data_is_refused_and_nothing_is_kept(ask, fleet, content, words):
    async def talk(client, _service):
        with pytest.raises(openai.BadRequestError, match=words) as refusal:
            await upload(client, content)
        assert refusal.value.type == "invalid_request_error"
        return (await connect(client).files.list()).data

    assert ask(talk) == []
    assert list_stored(fleet.root) == []


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"files": {"file": ("a.csv", GOOD)}, "data": {"purpose": "fine-tune"}}, "whose name ends with .jsonl"),
        ({"files": {"file": ("a.jsonl", GOOD)}, "data": {"purpose": "batch"}}, "purpose 'fine-tune'"),
        ({"files": {"file": ("a.jsonl", GOOD)}}, "purpose 'fine-tune'; got none"),
        ({"files": {"other": ("a.jsonl", GOOD)}, "data": {"purpose": "fine-tune"}}, "in the field 'other'"),
        (
            {"files": {"file": ("a.jsonl", GOOD)}, "data": {"purpose": "fine-tune", "expires_after": "1"}},
            "expires_after",
        ),
        ({"json": {"purpose": "fine-tune"}}, "content-type 'application/json'"),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "a form"),
    ],
)
def test_another_form_than_openais_is_refused(ask, fleet, form, words):
    async def talk(client, _service):
        return await client.post("/v1/files", **form)

    answer = ask(talk)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert list_stored(fleet.root) == []


@pytest.mark.parametrize(("query", "words"), [("limit=0", "limit: "), ("order=up", "order: "), ("after=x", "after: ")])
def test_a_page_that_there_cannot_be_is_refused_by_the_parameters_name(ask, query, words):
    async def talk(client, _service):
        return await client.get(f"/v1/files?{query}")

    answer = ask(talk)
    assert answer.status_code == 400
    assert f"wanted {words}" in answer.json()["error"]["message"]


def test_drop_lines_and_prompts_are_examples_too(ask):
    lines = write({"source": "a", "references": ["b", "c"]}, {"prompt": "a", "completion": "b"})

    async def talk(client, _service):
        return (await upload(client, lines)).bytes

    assert ask(talk) == len(lines)


def test_size_and_number_are_limited(ask, fleet):
    fleet.set_params(serve={"max_file_bytes": 4000, "max_body_bytes": 200}, access={"max_files": 1})

    async def talk(client, _service):
        assert (await upload(client, GOOD)).bytes > 200
        with pytest.raises(openai.BadRequestError, match=r"at most 1 uploaded files \(access.max_files\)"):
            await upload(client, GOOD)
        with pytest.raises(openai.APIStatusError, match="a body of at most 4000 bytes") as refusal:
            await upload(client, GOOD * 50)
        assert refusal.value.status_code == 413

    ask(talk)
    assert len(list_stored(fleet.root)) == 1


def test_a_tenants_key_sees_its_own_files_and_an_admin_key_all(ask):
    async def talk(client, service):
        admin, alder, birch = (service.keys.create(tenant)[1] for tenant in (None, "alder", "birch"))
        made = {key: (await upload(client, key=key)).id for key in (admin, alder, birch)}
        for key in (alder, birch):
            assert [file.id async for file in connect(client, key).files.list()] == [made[key]]
        assert {file.id async for file in connect(client, admin).files.list()} == set(made.values())
        await connect(client, admin).files.retrieve(made[alder])
        files = connect(client, alder).files
        for attempt in (files.retrieve, files.content, files.delete):
            with pytest.raises(openai.NotFoundError):
                await attempt(made[birch])
        with pytest.raises(openai.AuthenticationError):
            await upload(client, key="wrong")

    ask(talk, is_open=False)
