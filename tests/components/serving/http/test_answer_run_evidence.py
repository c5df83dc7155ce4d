"""Which answers are evidence for a trial: one of each user and share, and only requests that the split assigned."""

import asyncio

import pytest
import sqlalchemy as sql

from components.errors import ArtifactError
from components.registry.mlflow.versions import CHALLENGER
from components.rollout.store.tables import COUNTED_KEYS

PROMPT = {"model": "alder", "prompt": "thing: boat"}
DAMAGED = ArtifactError("an artifact", "a damaged one", "restore it")


@pytest.fixture
def count(observe):
    """A function of a service to (section, arm) -> (requests, errors), of evidence or of all answers."""

    async def sum_up(service, *, evidence=True):
        counts = {}
        for one in await observe(service, evidence=evidence):
            requests, errors = counts.get((one.section, one.arm), (0, 0))
            counts[one.section, one.arm] = requests + one.requests, errors + one.errors
        return counts

    return sum_up


def count_saved_keys(service):
    with service.database.connect("the number of counted keys") as connection:
        return connection.execute(sql.select(sql.func.count()).select_from(COUNTED_KEYS)).scalar()


@pytest.fixture(autouse=True)
def challenger(fleet):
    """The sha256 of alder's challenger, its version 2."""
    fleet.registry.register("alder", 7, CHALLENGER)
    return fleet.registry.find_challenger("alder").sha256


def test_a_user_is_evidence_once_a_share_and_a_request_without_a_user_each_time(ask, start_trial, count):
    async def talk(client, service):
        for since_s, before in ((60, 0.0), (120, 0.0), (180, 0.999999)):
            await start_trial(service, before=before, since_s=since_s)
            for user in ("ada", "ada", "bob", None, None):
                body = {**PROMPT, "n": 3, **({"user": user} if user else {})}
                assert (await client.post("/v1/completions", json=body)).status_code == 200
        for model in ("alder@champion", "alder@challenger", "alder@1"):
            await client.post("/v1/completions", json={**PROMPT, "model": model})
        return await count(service), await count(service, evidence=False), count_saved_keys(service)

    evidence, all_answers, saved_keys = ask(talk)
    assert saved_keys == 4
    assert evidence == {(60, CHALLENGER): (4, 0), (120, CHALLENGER): (4, 0)}
    assert all_answers == {(0, CHALLENGER): (45, 0)}


def test_a_repeated_request_id_gets_the_same_version_and_is_evidence_once(ask, start_trial, count):
    async def talk(client, service):
        await start_trial(service, 0.5)
        arms = []
        for name in ("one", "two", "one", "one", "six"):
            answer = await client.post("/v1/completions", json=PROMPT, headers={"x-request-id": name})
            arms.append(answer.headers["x-prefixfleet-arm"])
        return arms, await count(service), count_saved_keys(service)

    arms, evidence, saved_keys = ask(talk)
    assert arms[0] == arms[2] == arms[3]
    assert sum(answers for answers, _ in evidence.values()) == 3
    assert saved_keys == 0


def test_a_split_by_request_assigns_each_request_of_a_user_independently(ask, fleet, start_trial, count):
    fleet.set_params(tenants={"alder": {"rollout": {"split": "request"}}})

    async def talk(client, service):
        await start_trial(service, 0.5)
        for _ in range(20):
            await client.post("/v1/completions", json={**PROMPT, "user": "ada", "max_tokens": 1})
        return await count(service)

    evidence = ask(talk)
    assert len(evidence) == 2
    assert sum(answers for answers, _ in evidence.values()) == 20


def test_the_champions_answer_instead_of_a_failed_challengers_is_no_evidence(
    ask, fleet, challenger, start_trial, count
):
    fleet.engine.errors[challenger] = DAMAGED

    async def talk(client, service):
        await start_trial(service)
        for user in ("ada", "ada", "bob"):
            await client.post("/v1/completions", json={**PROMPT, "n": 2, "user": user})
        return await count(service), await count(service, evidence=False)

    evidence, all_answers = ask(talk)
    assert evidence == {(60, CHALLENGER): (2, 2)}
    assert all_answers == {(0, CHALLENGER): (6, 6), (0, "champion"): (6, 0)}


@pytest.mark.parametrize(("failing", "errors"), [(None, (0, 0)), ("challenger", (0, 1)), ("champion", (1, 0))])
def test_a_shadow_is_evidence_in_pairs_whichever_arm_fails(ask, fleet, start_trial, observe, count, failing, errors):
    if failing:
        fleet.engine.errors[getattr(fleet.registry, f"find_{failing}")("alder").sha256] = DAMAGED

    async def talk(client, service):
        await start_trial(service, shadow=True)
        working = asyncio.create_task(service.shadow_queue.run_forever())
        for _ in range(3):
            await client.post("/v1/completions", json={**PROMPT, "user": "ada"})
        while sum(one.requests for one in await observe(service)) < 6:
            await asyncio.sleep(0.001)
        working.cancel()
        return await count(service), {one.minute for one in await observe(service, evidence=True)}

    evidence, minutes = ask(talk)
    assert evidence == {(60, "champion"): (1, errors[0]), (60, CHALLENGER): (1, errors[1])}
    assert len(minutes) == 1
