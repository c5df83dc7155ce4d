"""Jobs of the fine-tuning API are listed among the causes of retrainings, against SQLite and PostgreSQL."""

import time

from components.rollout.store.cause_list import list_causes
from components.rollout.store.causes import Cause, open_causes
from components.rollout.store.tuning_jobs import create_job, move_job


def make_job(database, tenant="alder", **values):
    job = create_job(
        database, tenant=tenant, place="here", request={}, training_file="file-1", validation_file="", max_waiting=9
    )
    if values:
        move_job(database, job, ["validating_files"], **values)
    return job


def test_jobs_stand_among_the_causes_with_their_ends(database):
    assert list_causes(database, 9) == []
    with database.transaction("to open causes") as connection:
        old = Cause(tenant="alder", id="a", kind="arrival", why="new", opened_at="2026-01-01T00:00:00.000+00:00")
        open_causes(connection, [old])
    now_s = time.time()
    ends = {
        "succeeded": {"version": "3", "ended_s": now_s},
        "failed": {"error_message": "BLEU 0.1 is below 0.3", "ended_s": now_s},
        "cancelled": {"ended_s": now_s},
        "running": {"began_s": now_s},
    }
    jobs = [make_job(database, status=status, **values) for status, values in ends.items()]
    jobs.append(make_job(database, "birch"))

    listed = {one.id: one for one in list_causes(database, 9)}
    found = [listed[job.id] for job in jobs]
    assert [one.result for one in found] == [
        "succeeded: version 3",
        "failed: BLEU 0.1 is below 0.3",
        "cancelled",
        "",
        "",
    ]
    assert [bool(one.closed_at) for one in found] == [True, True, True, False, False]
    assert [one.tries for one in found] == [0, 0, 0, 1, 0]
    assert {one.kind for one in found} == {"fine-tuning"}
    assert found[0].why == f"fine-tuning job {jobs[0].id} asked for it"
    assert [one.id for one in list_causes(database, 9)][-1] == "a"
    assert [one.id for one in list_causes(database, 9, "birch")] == [jobs[-1].id]
    assert len(list_causes(database, 2)) == 2
