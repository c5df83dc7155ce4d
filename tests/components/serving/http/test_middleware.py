import pytest

from components.serving.http.answer_pace import AnswerPace

KIND = {"content-type": "application/json"}


async def send_pieces():
    for _ in range(30):
        yield b"x" * 100_000


def test_a_body_that_is_too_large_is_refused_by_its_content_length(ask):
    async def talk(client, _service):
        return await client.post("/v1/completions", content=b"x" * 1_000_001, headers=KIND)

    assert ask(talk).status_code == 413


@pytest.mark.parametrize("coding", [None, "chunked", "Chunked ", "gzip, chunked"])
def test_a_body_in_chunks_is_refused_once_it_is_too_large(ask, coding):
    async def talk(client, _service):
        headers = {**KIND, **({"transfer-encoding": coding} if coding else {})}
        return await client.post("/v1/completions", content=send_pieces(), headers=headers)

    assert ask(talk).status_code == 413


def test_a_body_in_chunks_within_the_limit_is_passed_on(ask):
    async def send_prompt():
        yield b'{"model": "alder", '
        yield b'"prompt": "x"}'

    async def talk(client, _service):
        return await client.post("/v1/completions", content=send_prompt(), headers=KIND)

    assert ask(talk).status_code == 200


def test_a_server_without_keys_refuses_other_hosts_than_localhost(ask):
    async def talk(client, service):
        hosts = ("evil.example", "localhost:8000", "127.0.0.1", "[::1]:8000")
        statuses = [(await client.get("/v1/models", headers={"host": host})).status_code for host in hosts]
        service.authenticator.allows_anonymous = False
        return statuses, (await client.get("/healthz", headers={"host": "evil.example"})).status_code

    assert ask(talk) == ([403, 200, 200, 200], 200)


def test_a_refused_request_has_a_request_id_and_closes_the_connection(ask):
    async def talk(client, service):
        service.start_draining()
        return await client.get("/v1/models", headers={"x-request-id": "mine"})

    answer = ask(talk)
    assert (answer.status_code, answer.headers["x-request-id"], answer.headers["connection"]) == (503, "mine", "close")


def test_all_but_completions_keep_the_pace_of_their_tenant_or_else_of_their_address(ask, monkeypatch):
    paced = []

    async def note(pace, caller):
        paced.append((pace.per_second, caller))

    async def talk(client, service):
        _, key = service.keys.create("alder")
        known, body = {"authorization": f"Bearer {key}"}, {"model": "alder", "prompt": "thing: boat"}
        answer = await client.post("/v1/completions", json=body, headers=known)
        assert paced == []
        await client.get("/healthz")
        await client.post("/v1/completions", json=body)
        await client.post("/v1/completions", json={**body, "model": "birch"}, headers=known)
        await client.post("/v1/feedback", json={"id": answer.json()["id"], "rating": 1}, headers=known)
        await client.get("/v1/models/birch", headers=known)
        assert paced == [(100, "127.0.0.1"), (25, "127.0.0.1"), (25, "alder"), (100, "alder"), (25, "alder")]

    monkeypatch.setattr(AnswerPace, "wait", note)
    ask(talk, is_open=False)
