import asyncio
import json

import pytest

from components.errors import ArtifactError
from components.serving.http.app import build_app

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def test_a_stream_has_the_same_text_and_the_usage_at_its_end(ask):
    body = {**PROMPT, "logprobs": 1}

    async def talk(client, _service):
        whole = (await client.post("/v1/completions", json=body)).json()
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        return whole, await client.post("/v1/completions", json=streamed)

    whole, answer = ask(talk)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-prefixfleet-tenant"] == "alder"
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    offsets = [offset for chunk in chunks[:-1] for offset in chunk["choices"][0]["logprobs"]["text_offset"]]
    assert offsets == whole["choices"][0]["logprobs"]["text_offset"]


def test_a_stream_that_fails_before_its_first_chunk_has_the_status_of_its_error(ask, fleet):
    fleet.engine.row_error = ArtifactError("an artifact", "a damaged one", "restore it")

    async def talk(client, service):
        answer = await client.post("/v1/completions", json={**PROMPT, "stream": True})
        return answer, service.in_flight

    answer, in_flight = ask(talk)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/json"
    assert "must restore its files" in answer.json()["error"]["message"]
    assert in_flight == 0


def test_a_stream_that_fails_later_ends_with_its_error_as_an_event(ask, fleet):
    fleet.engine.row_error, fleet.engine.words_before_error = ArtifactError("an artifact", "a damaged one", "x"), 2

    async def talk(client, _service):
        return await client.post("/v1/completions", json={**PROMPT, "stream": True})

    answer = ask(talk)
    assert answer.status_code == 200
    *chunks, problem, end = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert [json.loads(chunk)["choices"][0]["text"] for chunk in chunks] == ["1.0 ", "1.1 "]
    assert "must restore its files" in json.loads(problem)["error"]["message"]
    assert end == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_disconnects_frees_its_row(fleet, load, stream):
    """Against the ASGI application: the client disconnects once the row is in the batch."""
    incoming: asyncio.Queue = asyncio.Queue()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers}
    scope |= {"query_string": b"", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1"}

    async def ignore(_message):
        pass

    async def main():
        with fleet.serving() as service:
            await load(service)
            fleet.engine.may_go_on.clear()
            body = json.dumps({"model": "alder", "prompt": "x", "stream": stream}).encode()
            incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
            asking = asyncio.create_task(build_app(service)(scope, incoming.get, ignore))
            while not fleet.engine.requests:
                await asyncio.sleep(0)
            assert service.in_flight == 1
            incoming.put_nowait({"type": "http.disconnect"})
            await asyncio.wait_for(asking, 60)
            assert service.in_flight == 0
            assert fleet.engine.cancelled
            assert service.metrics.registry.get_sample_value("prefixfleet_disconnects_total") == 1

    asyncio.run(main())
