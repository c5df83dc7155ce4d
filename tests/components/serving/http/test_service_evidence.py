"""From requests on trial to evidence: one answer of each user in each share, and none of what was not drawn."""

import asyncio

import pytest
import sqlalchemy as sql
from observations import read_observations

from components.registry.mlflow.versions import CHALLENGER
from components.rollout.store.feedback import read_corrections
from components.rollout.store.tables import COUNTED_KEYS
from components.rollout.store.tenant_state import write_states
from components.rollout.types import RolloutState, ShareChange

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def expose(service, share, *, shadow=False, before=0.0, since=60):
    changes = (ShareChange(0, before), ShareChange(since, share))
    mode = "shadow" if shadow else "canary"
    state = RolloutState(tenant="alder", champion="1", challenger="2", mode=mode, share=share, changes=changes)
    with service.database.transaction("a trial") as connection:
        write_states(connection, [state])


async def seen_of(service, *, evidence=True):
    await service.observation_buffer.flush()
    return read_observations(service.database, "alder", ["1", "2"], 1, 2**31 - 1, evidence=evidence)


async def sums_of(service, *, evidence=True):
    seen = await seen_of(service, evidence=evidence)
    counts = {(one.section, one.arm): [0, 0] for one in seen}
    for one in seen:
        counts[one.section, one.arm][0] += one.requests
        counts[one.section, one.arm][1] += one.errors
    return {cell: tuple(sums) for cell, sums in counts.items()}


def counted(service):
    """How many are kept as counted."""
    with service.database.connect("who was counted") as connection:
        return connection.execute(sql.select(sql.func.count()).select_from(COUNTED_KEYS)).scalar()


@pytest.fixture
def on_trial(fleet):
    fleet.register("alder", 7, CHALLENGER)
    return fleet


def test_a_user_is_evidence_once_a_share_and_one_row_of_nobody_s_request(ask, on_trial):
    async def talk(client, service):
        for since, share, before in ((60, 1.0, 0.0), (120, 1.0, 0.0), (180, 1.0, 0.999999)):
            expose(service, share, before=before, since=since)
            await service.fleet.refresh()
            for user in ("ada", "ada", "bob", None, None):
                body = {**PROMPT, "n": 3, **({"user": user} if user else {})}
                assert (await client.post("/v1/completions", json=body)).status_code == 200
        for which in ("alder@champion", "alder@challenger", "alder@1"):
            await client.post("/v1/completions", json={**PROMPT, "model": which})
        return await sums_of(service), await sums_of(service, evidence=False), counted(service)

    evidence, every, kept = ask(talk)
    assert kept == 4
    assert evidence == {(60, CHALLENGER): (4, 0), (120, CHALLENGER): (4, 0)}
    assert every == {(0, CHALLENGER): (45, 0)}


def test_a_request_that_is_sent_again_under_its_id_meets_the_same_version_and_is_evidence_once(ask, on_trial):
    async def talk(client, service):
        expose(service, 0.5)
        await service.fleet.refresh()
        arms = []
        for name in ("one", "two", "one", "one", "six"):
            answer = await client.post("/v1/completions", json=PROMPT, headers={"x-request-id": name})
            arms.append(answer.headers["x-prefixfleet-arm"])
        return arms, await sums_of(service), counted(service)

    arms, evidence, kept = ask(talk)
    assert arms[0] == arms[2] == arms[3]
    assert sum(answers for answers, _ in evidence.values()) == 3
    assert kept == 0


def test_split_by_request_draws_a_user_s_requests_each_by_itself(ask, on_trial, set_params):
    root = on_trial.workspace.root
    set_params(
        root,
        base={"path": "base"},
        evaluate={"max_new_tokens": 6},
        tenants={"alder": {"rollout": {"split": "request"}}},
    )
    on_trial.open(root)

    async def talk(client, service):
        expose(service, 0.5)
        await service.fleet.refresh()
        for _ in range(20):
            await client.post("/v1/completions", json={**PROMPT, "user": "ada", "max_tokens": 1})
        return await sums_of(service)

    evidence = ask(talk)
    assert len(evidence) == 2
    assert sum(answers for answers, _ in evidence.values()) == 20


def test_what_the_champion_answers_instead_is_no_evidence(ask, on_trial):
    on_trial.engine.broken.add(on_trial.registry.find_challenger("alder").sha256)

    async def talk(client, service):
        expose(service, 1.0)
        await service.fleet.refresh()
        for user in ("ada", "ada", "bob"):
            await client.post("/v1/completions", json={**PROMPT, "n": 2, "user": user})
        return await sums_of(service), await sums_of(service, evidence=False)

    evidence, every = ask(talk)
    assert evidence == {(60, CHALLENGER): (2, 2)}
    assert every == {(0, CHALLENGER): (6, 6), (0, "champion"): (6, 0)}


@pytest.mark.parametrize(("broken", "errors"), [((), (0, 0)), (("challenger",), (0, 1)), (("champion",), (1, 0))])
def test_a_shadow_is_evidence_in_pairs_whoever_fails(ask, on_trial, broken, errors):
    for which in broken:
        on_trial.engine.broken.add(getattr(on_trial.registry, f"find_{which}")("alder").sha256)

    async def talk(client, service):
        expose(service, 1.0, shadow=True)
        await service.fleet.refresh()
        working = asyncio.create_task(service.shadow_queue.run_forever())
        for _ in range(3):
            await client.post("/v1/completions", json={**PROMPT, "user": "ada"})
        while sum(one.requests for one in await seen_of(service, evidence=False)) < 6:
            await asyncio.sleep(0.01)
        working.cancel()
        return await sums_of(service), {one.minute for one in await seen_of(service)}

    evidence, minutes = ask(talk)
    assert evidence == {(60, "champion"): (1, errors[0]), (60, CHALLENGER): (1, errors[1])}
    assert len(minutes) == 1


@pytest.mark.parametrize(("users", "counted"), [(("ada", "ada"), 1), (("ada", "bob"), 2), ((None, None), 2)])
def test_of_a_user_s_opinions_and_of_those_on_one_request_the_first_is_evidence(ask, on_trial, users, counted):
    async def talk(client, service):
        expose(service, 1.0)
        await service.fleet.refresh()
        for user in users:
            body = {**PROMPT, "n": 2, **({"user": user} if user else {})}
            name = (await client.post("/v1/completions", json=body)).json()["id"]
            for index in (0, 1, 1):
                await client.post("/v1/feedback", json={"id": name, "index": index, "rating": 0})
        kinds = [await seen_of(service, evidence=evidence) for evidence in (True, False)]
        return [sum(one.disliked for one in seen) for seen in kinds]

    assert ask(talk) == [counted, 4]


def test_an_opinion_that_was_not_kept_counts_when_it_is_said_again_and_is_kept_once(ask, on_trial):
    async def talk(client, service):
        def rename(table, other):
            with service.database.transaction("to break or mend it") as connection:
                connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {other}")

        async def say(**said):
            return (await client.post("/v1/feedback", json={"id": name, **said})).status_code

        expose(service, 1.0)
        await service.fleet.refresh()
        name = (await client.post("/v1/completions", json={**PROMPT, "n": 2})).json()["id"]
        told = [await say(text="half of a \0 text")]
        rename("prefixfleet_seen", "away")
        told += [await say(text="a boat"), await say(index=1, rating=0)]
        rename("away", "prefixfleet_seen")
        told += [await say(text="a boat"), await say(index=1, rating=0), await say(text="a boat")]
        kinds = [await seen_of(service, evidence=evidence) for evidence in (True, False)]
        return told, [sum(one.disliked for one in seen) for seen in kinds], len(read_corrections(service.database))

    assert ask(talk) == ([400, 503, 503, 200, 200, 200], [1, 2], 2)


def test_what_was_dropped_shows(ask, fleet):
    async def talk(client, service):
        service.observation_buffer.dropped, service.observation_buffer.write_error = 3, "no answer"
        return (await client.get("/healthz")).json(), (await client.get("/metrics")).text

    health, metrics = ask(talk)
    assert (health["troubles"], health["observations_dropped"]) == (["observations"], 3)
    assert "prefixfleet_observations_dropped 3.0" in metrics
    assert "prefixfleet_observations_trouble 1.0" in metrics
