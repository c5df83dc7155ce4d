"""Notices of ended jobs, verified by OpenAI's own client; a receiver that fails gets them again."""

import base64
import json
from contextlib import closing

import openai
import pytest
from receivers import Receiver

from components.errors import ConfigError
from components.fine_tuning.notices import SECRET_VARIABLE, make_notices
from components.rollout.store.database import open_database_url
from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.rollout.store.tuning_jobs import create_job, list_untold_jobs, move_job

SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef').decode()}"
PLACE = "p" * 64
START_S = 1_800_000_000.0


@pytest.fixture
def database(database_url):
    with closing(open_database_url(database_url)) as opened:
        yield opened


@pytest.fixture
def end_job(database):
    def end(status="succeeded", tenant="acme", ended_s=START_S):
        values = {"request": {}, "training_file": "file-1", "validation_file": "", "max_waiting": 9}
        job = create_job(database, tenant=tenant, place=PLACE, **values)
        assert move_job(database, job, ["validating_files"], status=status, ended_s=ended_s)
        return job

    return end


def make(database, url, clock):
    notices = make_notices(database, url, {SECRET_VARIABLE: SECRET})
    notices._clock = clock
    return notices


def test_every_end_is_told_once_and_openais_client_verifies_it(database, end_job):
    receiver, client = Receiver(), openai.OpenAI(api_key="none")
    with receiver.run() as url:
        notices = make(database, url, lambda: START_S + 60)
        assert not notices.send_due(PLACE)
        jobs = [end_job(status, ended_s=START_S + place) for place, status in enumerate(("succeeded", "cancelled"))]
        end_job("queued")
        assert not notices.send_due(PLACE)
        assert not notices.send_due(PLACE)
        assert not make(database, url, lambda: START_S + 90).send_due(PLACE), "nor after a restart"
    assert len(receiver.received) == 2
    for job, status, (body, headers) in zip(jobs, ("succeeded", "cancelled"), receiver.received, strict=True):
        client.webhooks.verify_signature(body, headers, secret=SECRET, tolerance=10**9)
        event = json.loads(body)
        assert (event["type"], event["data"]) == (f"fine_tuning.job.{status}", {"id": job.id})
        assert event["id"] == headers["webhook-id"]
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(body + b" ", headers, secret=SECRET, tolerance=10**9)


def test_a_notice_that_is_not_accepted_comes_again_later_and_later_with_the_same_id(database, end_job):
    receiver, now_s = Receiver(), [START_S]
    end_job()
    with receiver.run() as url:
        notices = make(database, url, lambda: now_s[0])
        receiver.status = 500
        for pause_s in (5, 10, 20):
            assert notices.send_due(PLACE)
            assert notices.send_due(PLACE), "not before its time"
            now_s[0] += pause_s
        receiver.status = 204
        assert not notices.send_due(PLACE)
    assert len(receiver.received) == 4
    assert len({headers["webhook-id"] for _, headers in receiver.received}) == 1


def test_a_receiver_that_is_away_gets_them_when_it_comes_and_not_after_three_days(database, end_job):
    with Receiver().run() as url:
        pass
    now_s = [START_S]
    end_job()
    notices = make(database, url, lambda: now_s[0])
    assert notices.send_due(PLACE)
    now_s[0] += 3 * 86_400 + 1
    assert not notices.send_due(PLACE)


def test_notices_are_forgotten_with_their_tenant(database, end_job):
    receiver = Receiver()
    end_job()
    with receiver.run() as url:
        assert not make(database, url, lambda: START_S).send_due(PLACE)
    remove_rows(database, "acme")
    assert list_remaining_rows(database, "acme") == []
    assert list_untold_jobs(database, PLACE, 0) == []


@pytest.mark.parametrize(
    ("url", "secret", "words"),
    [
        ("ftp://host", SECRET, "'ftp://host'"),
        ("http://[", SECRET, r"'http://\['"),
        ("https://host/hook", "", "none"),
        ("https://host/hook", "secret", "another text"),
        ("https://host/hook", "whsec_", "another text"),
        ("https://host/hook", "whsec_%%", "another text"),
    ],
)
def test_an_address_or_a_key_that_is_none_is_refused(database, url, secret, words):
    with pytest.raises(ConfigError, match=words):
        make_notices(database, url, {SECRET_VARIABLE: secret} if secret else {})


def test_without_an_address_there_are_no_notices(database):
    assert make_notices(database, "", {}) is None
