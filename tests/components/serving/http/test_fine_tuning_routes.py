"""Jobs through OpenAI's client: created, listed, cancelled, refused with the field's name; each key sees its own."""

import json

import openai
import pytest
from waiting import LIMIT_S

from components.rollout.store.tuning_jobs import find_job, move_job

LINES = "".join(json.dumps({"prompt": f"thing {number}", "completion": "a boat"}) + "\n" for number in range(10))


def connect(client, key="none"):
    return openai.AsyncOpenAI(
        api_key=key, base_url="http://localhost/v1", http_client=client, max_retries=0, timeout=LIMIT_S
    )


async def upload(client, key="none"):
    made = await connect(client, key).files.create(file=("train.jsonl", LINES.encode()), purpose="fine-tune")
    return made.id


async def create(client, key="none", **more):
    request = {"model": "tiny", "training_file": await upload(client, key), **more}
    return await connect(client, key).fine_tuning.jobs.create(**request)


def test_a_job_is_created_listed_and_cancelled(ask):
    async def talk(client, service):
        jobs = connect(client).fine_tuning.jobs
        hyperparameters = {"n_epochs": 2, "learning_rate_multiplier": 0.5}
        method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
        first = await create(client, suffix="cedar", metadata={"team": "a"}, method=method, seed=3)
        second = await create(client, model="alder", hyperparameters={"batch_size": 4})
        assert (first.status, first.fine_tuned_model, first.error) == ("validating_files", None, None)
        assert (first.metadata, first.seed, first.estimated_finish) == ({"team": "a"}, 3, None)
        assert first.hyperparameters.model_dump(exclude_none=True) == {**hyperparameters, "batch_size": "auto"}
        assert first.method.type == "supervised"
        assert first.estimate is None, "this server's workspace has no params.yaml"
        assert [job.id async for job in jobs.list(limit=1)] == [second.id, first.id]
        assert await jobs.retrieve(first.id) == first
        assert (await jobs.checkpoints.list(first.id)).data == []
        assert (await jobs.cancel(first.id)).status == "cancelled"
        assert [event.message for event in (await jobs.list_events(first.id)).data] == ["cancelled"]
        with pytest.raises(openai.BadRequestError, match="one that is cancelled"):
            await jobs.cancel(first.id)
        assert find_job(service.database, second.id, None).tenant == "alder"

    ask(talk)


def test_a_job_that_ended_has_its_model_or_its_error_and_lets_others_be_estimated(ask):
    async def talk(client, service):
        jobs = connect(client).fine_tuning.jobs
        good, bad, open_job = [await create(client, suffix=name) for name in ("cedar", "birch", "alder")]
        stored = find_job(service.database, good.id, None)
        values = {"began_s": 1000.0, "ended_s": 1060.0, "version": "2", "trained_tokens": 5, "steps": 7}
        move_job(service.database, stored, ["validating_files"], status="succeeded", **values)
        values = {"ended_s": 9.0, "error_code": "gate_rejected", "error_message": "BLEU is below its floor."}
        move_job(
            service.database, find_job(service.database, bad.id, None), ["validating_files"], status="failed", **values
        )
        ended = await jobs.retrieve(good.id)
        assert (ended.fine_tuned_model, ended.trained_tokens, ended.finished_at) == ("cedar@2", 5, 1060)
        (checkpoint,) = (await jobs.checkpoints.list(good.id)).data
        assert (checkpoint.fine_tuned_model_checkpoint, checkpoint.step_number) == ("cedar@2", 7)
        error = (await jobs.retrieve(bad.id)).error
        assert (error.code, error.message) == ("gate_rejected", "BLEU is below its floor.")
        waiting = await jobs.retrieve(open_job.id)
        assert waiting.estimated_finish in (waiting.created_at + 60, waiting.created_at + 61)

    ask(talk)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"method": {"type": "dpo", "dpo": {}}}, "method"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": "large"}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"prompt_loss_weight": 0.1}}, "prompt_loss_weight"),
        ({"hyperparameters": {}, "method": {"type": "supervised"}}, "hyperparameters or method"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations"),
        ({"training_file": "file-none"}, "training_file: the id of one of your files"),
        ({"validation_file": "file-none"}, "validation_file: the id of one of your files"),
        ({"model": "gpt-4o-mini"}, "gpt-4o-mini"),
        ({"suffix": None}, "set metadata.tenant or suffix"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_fields_name(ask, more, words):
    async def talk(client, _service):
        with pytest.raises(openai.BadRequestError, match=words) as refusal:
            await create(client, **{"suffix": "cedar", **more})
        assert refusal.value.type == "invalid_request_error"
        return (await connect(client).fine_tuning.jobs.list()).data

    assert ask(talk) == []


def test_a_tenants_key_is_for_its_own_jobs_and_files_and_an_admin_key_for_all(ask, fleet):
    fleet.set_params(access={"max_tuning_jobs": 1})

    async def talk(client, service):
        admin, alder, birch = (service.keys.create(tenant)[1] for tenant in (None, "alder", "birch"))
        own = await create(client, alder)
        assert find_job(service.database, own.id, None).tenant == "alder"
        for foreign in (
            {"model": "birch"},
            {"metadata": {"tenant": "birch"}},
            {"training_file": await upload(client, birch)},
        ):
            with pytest.raises(openai.BadRequestError):
                await create(client, alder, **foreign)
        with pytest.raises(openai.RateLimitError, match="max_tuning_jobs"):
            await create(client, alder)
        jobs = connect(client, birch).fine_tuning.jobs
        for attempt in (jobs.retrieve, jobs.cancel, jobs.list_events, jobs.checkpoints.list):
            with pytest.raises(openai.NotFoundError):
                await attempt(own.id)
        assert (await jobs.list()).data == []
        assert [job.id async for job in connect(client, admin).fine_tuning.jobs.list()] == [own.id]

    ask(talk, is_open=False)
