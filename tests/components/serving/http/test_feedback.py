"""Feedback is checked on receipt, counted against quotas, bounded, saved with its sender, and delays only itself."""

import asyncio
import sqlite3
import subprocess
import sys

import pytest

from components.rollout.store.corrections import list_tenants_with_corrections, mark_delivered, read_corrections

PROMPT = {"model": "alder", "prompt": "thing: boat"}
HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def bearer(text):
    return {"authorization": f"Bearer {text}"}


async def complete(client, tenant="alder", **changes):
    headers = changes.pop("headers", {})
    answer = await client.post("/v1/completions", json={**PROMPT, "model": tenant, **changes}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("x" * 41, "at most 40 characters (data.max_reference_chars); got 41 characters; shorten the text"),
        ("x" * 900_000, "got 900000 characters"),
        (" ", "reference 1 is empty"),
        ("half of a \0 text", "a NUL"),
    ],
)
def test_a_correction_that_cannot_be_trained_on_is_refused_on_receipt_and_not_saved(ask, fleet, text, got):
    fleet.set_params(data={"max_reference_chars": 40})

    async def talk(client, service):
        answer = await client.post("/v1/feedback", json={"id": await complete(client), "text": text})
        return answer, list_tenants_with_corrections(service.database)

    answer, tenants = ask(talk)
    assert answer.status_code == 400
    assert got in answer.json()["error"]["message"]
    assert tenants == []


def test_a_correction_of_a_source_that_is_too_long_for_training_is_refused(ask, fleet):
    fleet.set_params(data={"max_source_chars": 5})

    async def talk(client, _service):
        name = await complete(client)
        return [await client.post("/v1/feedback", json={"id": name, **one}) for one in ({"text": "a"}, {"rating": 1})]

    corrected, rated = ask(talk)
    assert (corrected.status_code, rated.status_code) == (400, 200)
    assert "data.max_source_chars" in corrected.json()["error"]["message"]


def test_many_corrections_of_one_answer_by_one_key_are_one_and_it_is_known_who_sent_it(ask):
    async def talk(client, service):
        key, text = service.keys.create("alder")
        name = await complete(client, headers=bearer(text), user="ada")
        for number in range(300):
            body = {"id": name, "text": f"text {number}", **({"user": f"u{number}"} if number % 2 else {})}
            saved = await client.post("/v1/feedback", json=body, headers=bearer(text))
            assert saved.status_code == 200, saved.text
        last = await client.post("/v1/feedback", json={"id": name, "text": "the last"}, headers=bearer(text))
        assert last.status_code == 200
        return key, read_corrections(service.database, "alder")

    key, kept = ask(talk, is_open=False)
    assert [(one.corrected, one.key_id, one.end_user) for _, one in kept] == [("the last", key.id, "ada")]


def test_a_choice_whose_correction_is_in_the_training_data_is_not_corrected_again(ask):
    async def talk(client, service):
        name = await complete(client)

        async def send(**values):
            return await client.post("/v1/feedback", json={"id": name, **values})

        await send(text="a boat")
        ((number, given),) = read_corrections(service.database, "alder")
        mark_delivered(service.database, [(number, given.corrected, "d" * 64)])
        return await send(text="a ship"), await send(rating=0.3), list_tenants_with_corrections(service.database)

    again, rated, tenants = ask(talk)
    assert (again.status_code, rated.status_code, tenants) == (409, 200, [])
    assert "is in the training data already" in again.json()["error"]["message"]


def test_a_tenants_waiting_corrections_are_limited(ask, fleet):
    fleet.set_params(access={"max_waiting_corrections": 2})

    async def talk(client, service):
        statuses = []
        for tenant in ("alder", "alder", "alder", "birch"):
            answer = await client.post("/v1/feedback", json={"id": await complete(client, tenant), "text": "a"})
            statuses.append(answer.status_code)
        assert "retry-after" not in answer.headers
        return statuses, [len(read_corrections(service.database, tenant)) for tenant in ("alder", "birch")]

    assert ask(talk) == ([200, 200, 429, 200], [2, 1])


@pytest.mark.parametrize(
    ("access", "text", "statuses"),
    [
        ({"requests_per_minute": 3}, "a", [200, 200, 429]),
        ({"tokens_per_minute": 50}, "x" * 80, [200, 200, 429]),
        ({"tokens_per_minute": 50}, None, [200, 200, 200]),
    ],
)
def test_feedback_counts_against_the_tenants_quotas(ask, fleet, access, text, statuses):
    fleet.set_params(tenants={"alder": {"access": access}})

    async def talk(client, _service):
        names = {tenant: await complete(client, tenant, max_tokens=1) for tenant in ("alder", "birch")}
        body = {"rating": 0} if text is None else {"text": text}
        answers = [await client.post("/v1/feedback", json={"id": names["alder"], **body}) for _ in statuses]
        other = await client.post("/v1/feedback", json={"id": names["birch"], "rating": 1})
        return [answer.status_code for answer in answers], other.status_code

    assert ask(talk) == (statuses, 200)


def test_many_answers_of_one_tenant_do_not_push_out_anothers(ask, fleet):
    fleet.set_params(serve={"remembered_answers": 100})

    async def talk(client, _service):
        name = await complete(client, "birch")
        for _ in range(110):
            await complete(client, max_tokens=1)
        return (await client.post("/v1/feedback", json={"id": name, "rating": 1})).status_code

    assert ask(talk) == 200


def test_other_tenants_are_answered_while_one_tenants_feedback_waits_for_a_locked_database(ask, tmp_path):
    async def talk(client, service):
        service.keys._fresh_seconds = 0.0
        keys = {tenant: bearer(service.keys.create(tenant)[1]) for tenant in ("alder", "birch")}
        names = [await complete(client, headers=keys["alder"], max_tokens=1) for _ in range(40)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        holder = subprocess.Popen([sys.executable, "-c", HOLD_LOCK, str(tmp_path / "prefixfleet.db")], **pipes)
        try:
            assert holder.stdout.readline() == b"held\n"
            posts = [
                asyncio.create_task(client.post("/v1/feedback", json={"id": name, "rating": 0}, headers=keys["alder"]))
                for name in names
            ]
            await asyncio.sleep(0.05)
            answers = [await complete(client, "birch", headers=keys["birch"]) for _ in range(20)]
            refused = [post.result().status_code for post in posts if post.done()]
        finally:
            holder.communicate(b"")
        return answers, refused, [(await post).status_code for post in posts]

    answers, refused, statuses = ask(talk, is_open=False)
    assert len(answers) == 20
    assert refused == [429] * 8, "beyond 32 waiting posts a tenant is refused at once"
    assert sorted(statuses) == [200] * 32 + [429] * 8


def test_a_tenants_feedback_leaves_threads_to_the_others(ask, tmp_path):
    async def talk(client, service):
        names = [await complete(client, max_tokens=1) for _ in range(8)]
        other = await complete(client, "birch", max_tokens=1)
        await client.post("/v1/feedback", json={"id": other, "rating": 0.9})
        connection = sqlite3.connect(tmp_path / "prefixfleet.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        posts = [asyncio.create_task(client.post("/v1/feedback", json={"id": one, "rating": 0})) for one in names]
        await asyncio.sleep(0.05)
        pool = service.feedback_desk._pool
        async with asyncio.timeout(60):
            while not pool._running["alder"]:
                await asyncio.sleep(0.01)
            birch = asyncio.create_task(client.post("/v1/feedback", json={"id": other, "rating": 0}))
            while not pool._running["birch"]:
                await asyncio.sleep(0.01)
        running = pool._running["alder"]
        connection.execute("ROLLBACK")
        connection.close()
        return running, [(await post).status_code for post in (*posts, birch)]

    assert ask(talk) == (1, [200] * 9)
