"""Feedback reaches the version that answered, counts once, and is refused for unknown answers."""

import pytest

from components.registry.mlflow.versions import Version
from components.rollout.store.corrections import read_corrections
from components.serving.errors import RefusalError
from components.serving.http.answer_memory import AnswerMemory, RememberedAnswer, to_feedback
from components.serving.http.auth import Caller
from components.serving.http.openai import FeedbackRequest

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def remember(memory, name, tenant="alder"):
    memory.add(name, RememberedAnswer(Version(tenant, "1"), "champion", ["thing: boat"] * 2))


def accept(memory, given, tenant=None):
    return to_feedback(memory.find(given.id), Caller(tenant), given)


def feedback(name, **values):
    return FeedbackRequest.model_validate({"id": name, "rating": 0, **values})


def test_the_sources_in_memory_are_limited_by_their_bytes():
    memory = AnswerMemory(100, max_bytes=10_000)
    remember(memory, "small", "birch")
    for number in range(20):
        texts = ["x" * 900] * 50
        memory.add(f"long {number}", RememberedAnswer(Version("alder", "1"), "champion", texts))
    assert accept(memory, feedback("small")).tenant == "birch"
    kept = [number for number in range(20) if f"long {number}" in memory._answers]
    assert kept == list(range(10, 20)), "the samples of one prompt share its text"


def test_the_oldest_answer_is_forgotten_first_and_a_tenants_with_the_tenant():
    memory = AnswerMemory(2)
    for name, tenant in (("one", "alder"), ("two", "alder"), ("three", "birch")):
        remember(memory, name, tenant)
    with pytest.raises(RefusalError):
        accept(memory, feedback("one"))
    assert accept(memory, feedback("two")).tenant == "alder"
    memory.forget("alder")
    with pytest.raises(RefusalError):
        accept(memory, feedback("two"))
    assert accept(memory, feedback("three")).tenant == "birch"


def test_feedback_on_another_tenants_answer_or_on_a_missing_choice_is_refused_like_an_unknown_answer():
    memory = AnswerMemory(2)
    remember(memory, "one")
    errors = []
    for caller, given in (("birch", feedback("one")), ("alder", feedback("two")), ("alder", feedback("one", index=2))):
        with pytest.raises(RefusalError) as refused:
            accept(memory, given, caller)
        errors.append((refused.value.status, str(refused.value)))
    assert errors[0][0] == 404
    assert len(set(errors)) == 1


def test_the_ids_of_forgotten_answers_are_told():
    dropped = []
    memory = AnswerMemory(2, on_drop=dropped.append)
    for name in ("one", "two", "three"):
        remember(memory, name)
    assert dropped == ["one"]
    memory.forget("alder")
    assert dropped == ["one", "two", "three"]


def test_feedback_is_saved_with_the_version_that_answered(ask):
    async def talk(client, service):
        name = (await client.post("/v1/completions", json=PROMPT)).json()["id"]
        good = await client.post("/v1/feedback", json={"id": name, "rating": 1, "text": "a boat"})
        unknown = await client.post("/v1/feedback", json={"id": "cmpl-x", "rating": 1})
        empty = await client.post("/v1/feedback", json={"id": name})
        return good, unknown, empty, read_corrections(service.database, "alder")

    good, unknown, empty, saved = ask(talk)
    assert (good.status_code, unknown.status_code, empty.status_code) == (200, 404, 400)
    ((_, given),) = saved
    assert (given.tenant, given.version, given.source, given.corrected) == ("alder", "1", "thing: boat", "a boat")


@pytest.mark.parametrize(("users", "evidence"), [(("ada", "ada"), 1), (("ada", "bob"), 2), ((None, None), 2)])
def test_the_first_feedback_of_a_user_or_on_a_request_is_evidence(ask, fleet, start_trial, observe, users, evidence):
    fleet.registry.register("alder", 7, "challenger")

    async def talk(client, service):
        await start_trial(service)
        for user in users:
            body = {**PROMPT, "n": 2, **({"user": user} if user else {})}
            name = (await client.post("/v1/completions", json=body)).json()["id"]
            for index in (0, 1, 1):
                answer = await client.post("/v1/feedback", json={"id": name, "index": index, "rating": 0})
                assert answer.status_code == 200
        return [sum(one.disliked for one in await observe(service, evidence=kind)) for kind in (True, False)]

    assert ask(talk) == [evidence, 4]


def test_feedback_that_was_not_saved_counts_when_it_is_sent_again(ask, fleet, start_trial, observe):
    fleet.registry.register("alder", 7, "challenger")

    async def talk(client, service):
        def rename(table, other):
            with service.database.transaction("to break or mend it") as connection:
                connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {other}")

        async def send(**values):
            return (await client.post("/v1/feedback", json={"id": name, **values})).status_code

        await start_trial(service)
        name = (await client.post("/v1/completions", json={**PROMPT, "n": 2})).json()["id"]
        statuses = [await send(text="half of a \0 text")]
        rename("prefixfleet_seen", "away")
        statuses += [await send(text="a boat"), await send(index=1, rating=0)]
        rename("away", "prefixfleet_seen")
        statuses += [await send(text="a boat"), await send(index=1, rating=0), await send(text="a boat")]
        disliked = [sum(one.disliked for one in await observe(service, evidence=kind)) for kind in (True, False)]
        return statuses, disliked, len(read_corrections(service.database, "alder"))

    assert ask(talk) == ([400, 503, 503, 200, 200, 200], [1, 2], 1)
