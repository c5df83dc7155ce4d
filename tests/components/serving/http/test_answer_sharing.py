"""Feedback on an answer is accepted by another server over the same database, within the tenant's limits."""

import asyncio
from contextlib import ExitStack

import httpx
import pytest

from components.registry.mlflow.versions import Version
from components.rollout.store.answers import find_answer
from components.rollout.store.corrections import read_corrections
from components.serving.http.answer_memory import AnswerMemory, RememberedAnswer
from components.serving.http.answer_sharing import AnswerSharing
from components.serving.http.app import build_app

PROMPT = {"model": "alder", "prompt": "thing: boat"}
ID = f"cmpl-{'0' * 24}"


def make_answer(tenant="alder", source="thing: boat"):
    return RememberedAnswer(Version(tenant, "1"), "champion", [source])


@pytest.fixture
def ask_two(fleet, load):
    """Run an async function of two servers, each as (client, service), over one database."""

    def run(talk, *, is_open=True):
        async def main():
            with ExitStack() as stack:
                servers = []
                for _ in range(2):
                    service = stack.enter_context(fleet.serving(is_open=is_open))
                    await load(service)
                    transport = httpx.ASGITransport(build_app(service), raise_app_exceptions=False)
                    servers.append((httpx.AsyncClient(transport=transport, base_url="http://localhost"), service))
                return await talk(*servers)

        return asyncio.run(main())

    return run


def test_feedback_at_another_server_is_saved_and_counted_once(ask_two, fleet, start_trial, observe):
    fleet.registry.register("alder", 7, "challenger")

    async def talk(first, second):
        (one, its_service), (other, other_service) = first, second
        for service in (its_service, other_service):
            await start_trial(service)
        name = (await one.post("/v1/completions", json={**PROMPT, "user": "ada"})).json()["id"]
        await its_service.answer_sharing.flush()
        for client in (other, one, other):
            given = await client.post("/v1/feedback", json={"id": name, "rating": 0, "text": "a boat"})
            assert given.status_code == 200, given.text
        disliked = [sum(row.disliked for row in await observe(other_service, evidence=kind)) for kind in (True, False)]
        return disliked, read_corrections(other_service.database, "alder")

    disliked, corrections = ask_two(talk)
    assert disliked == [1, 1]
    assert [(one.source, one.corrected, one.end_user) for _, one in corrections] == [("thing: boat", "a boat", "ada")]


def test_another_tenants_answer_is_like_an_unknown_one_at_every_server(ask_two):
    async def talk(first, second):
        (one, its_service), (other, _) = first, second
        headers = {}
        for tenant in ("alder", "birch"):
            _, text = its_service.keys.create(tenant)
            headers[tenant] = {"authorization": f"Bearer {text}"}
        name = (await one.post("/v1/completions", json=PROMPT, headers=headers["alder"])).json()["id"]
        await its_service.answer_sharing.flush()
        refused = [
            await client.post("/v1/feedback", json={"id": answer, "rating": 1}, headers=headers["birch"])
            for client in (one, other)
            for answer in (name, ID)
        ]
        own = await other.post("/v1/feedback", json={"id": name, "rating": 1}, headers=headers["alder"])
        return {(answer.status_code, answer.text) for answer in refused}, own.status_code

    refused, own = ask_two(talk, is_open=False)
    assert [status for status, _ in refused] == [404]
    assert own == 200


def test_an_answer_that_is_written_a_moment_later_is_found(database):
    async def main():
        one = AnswerSharing(database, 60)

        async def write_meanwhile(_seconds):
            one.add(ID, make_answer())
            await one.flush()

        return await AnswerSharing(database, 60, sleep=write_meanwhile).find(ID)

    assert asyncio.run(main()).sources == ["thing: boat"]


def test_what_the_memory_forgets_is_deleted_from_the_database(database):
    ids = [f"cmpl-{number:024x}" for number in range(4)]

    async def main():
        sharing = AnswerSharing(database, 60)
        memory = AnswerMemory(2, on_drop=sharing.drop)
        for name, tenant in zip(ids, ("alder", "alder", "birch", "alder"), strict=True):
            for part in (sharing, memory):
                part.add(name, make_answer(tenant))
            await sharing.flush()
        kept = [name for name in ids if find_answer(database, name)]
        memory.forget("alder")
        await sharing.flush()
        return kept, [name for name in ids if find_answer(database, name)]

    kept, without_alder = asyncio.run(main())
    assert len(kept) == 2
    assert without_alder == [ids[2]]


def test_an_answer_of_a_tenant_that_is_forgotten_while_it_is_written_is_deleted(database):
    async def main():
        sharing = AnswerSharing(database, 60)
        memory = AnswerMemory(2, on_drop=sharing.drop)
        for part in (sharing, memory):
            part.add(ID, make_answer())
        writing = asyncio.create_task(sharing.flush())
        await asyncio.sleep(0)
        memory.forget("alder")
        await writing
        await sharing.flush()
        return find_answer(database, ID)

    assert asyncio.run(main()) is None


def test_answers_wait_while_the_database_fails(database):
    def rename(table, other):
        with database.transaction("to break or mend it") as connection:
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {other}")

    async def main():
        sharing = AnswerSharing(database, 60)
        sharing.add(ID, make_answer())
        rename("prefixfleet_answers", "away")
        await sharing.flush()
        error = sharing.write_error
        rename("away", "prefixfleet_answers")
        await sharing.flush()
        return error, sharing.write_error, await sharing.find(ID)

    error, after, found = asyncio.run(main())
    assert "answers" in error
    assert (after, found.sources) == ("", ["thing: boat"])


def test_old_answers_are_deleted_and_none_are_written_if_none_are_shared(database):
    now_s = 1000.0

    async def main():
        nonlocal now_s
        unshared = AnswerSharing(database, 0)
        unshared.add(ID, make_answer())
        await unshared.flush()
        assert find_answer(database, ID) is None
        assert await unshared.find(ID) is None
        sharing = AnswerSharing(database, 60, lambda: now_s, write_seconds=0.01)
        sharing.add(ID, make_answer())
        await sharing.flush()
        now_s += 61
        running = asyncio.create_task(sharing.run_forever())
        while find_answer(database, ID) is not None:
            await asyncio.sleep(0.01)
        running.cancel()

    asyncio.run(main())
