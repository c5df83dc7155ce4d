"""Files are checked, one job runs after the other, and those that died or were cancelled are told as such."""

import json
import sys
from types import SimpleNamespace

import pytest
from waiting import wait_until

from components.errors import WorkspaceError
from components.fine_tuning import supervisor
from components.fine_tuning.supervisor import JobSupervisor
from components.fine_tuning.uploads import Uploads
from components.rollout.store.tuning_jobs import create_job, find_job, list_events, list_jobs, move_job
from components.stages.workspace import Workspace

LINES = "".join(json.dumps({"prompt": f"thing {number}", "completion": "a boat"}) + "\n" for number in range(10))
WAITS = [sys.executable, "-c", "import time; time.sleep(600)"]
ENDS = [sys.executable, "-c", ""]


class Jobs:
    """Jobs of a workspace, whose processes only wait or end."""

    def __init__(self, root):
        self.workspace = Workspace(root)
        self.database = self.workspace.database
        self.uploads = Uploads(root, self.database, self.workspace.params.data)
        self.supervisor = self.restart(WAITS)

    def restart(self, command):
        self.supervisor = JobSupervisor(self.workspace, self.database, self.uploads, lambda _root, _job: command)
        return self.supervisor

    def upload(self, text=LINES):
        with self.uploads.receive(None) as temporary:
            temporary.write_text(text)
            return self.uploads.store(temporary, "train.jsonl", None, 10)

    def create(self, tenant="alder", file=None, most=10):
        file_id = (file or self.upload()).id
        request = {"model": "base", "hyperparameters": {}, "seed": None, "metadata": {}}
        place = self.supervisor.place
        return create_job(
            self.database,
            tenant=tenant,
            place=place,
            request=request,
            training_file=file_id,
            validation_file="",
            max_waiting=most,
        )

    def states(self, *jobs):
        return [find_job(self.database, job.id, None).status for job in jobs]

    def look_until(self, wanted, *jobs):
        def look():
            self.supervisor.look()
            return self.states(*jobs) == wanted

        wait_until(look, f"the states {wanted}")


@pytest.fixture
def jobs(make_root):
    made = Jobs(make_root(()))
    yield made
    made.restart(ENDS)
    for job in list_jobs(made.database, None):
        made.supervisor.cancel(job)
    wait_until(lambda: not made.supervisor.look(), "the end of all processes")


def test_jobs_run_one_after_the_other_and_a_cancelled_one_makes_room(jobs):
    first, second = jobs.create(), jobs.create()
    assert jobs.states(first, second) == ["validating_files", "validating_files"]
    assert jobs.supervisor.look()
    assert jobs.states(first, second) == ["running", "queued"]
    jobs.supervisor.look()
    assert jobs.states(first, second) == ["running", "queued"]
    assert jobs.supervisor.cancel(first)
    assert not jobs.supervisor.cancel(first)
    jobs.look_until(["cancelled", "running"], first, second)
    assert next(event.message for event in list_events(jobs.database, first.id)) == "cancelled"


def test_a_restarted_supervisor_goes_on_with_a_process_that_lives_and_fails_a_job_whose_process_died(jobs):
    job = jobs.create()
    jobs.supervisor.look()
    jobs.restart(ENDS).look()
    assert jobs.states(job) == ["running"]
    jobs.supervisor.cancel(job)
    other = jobs.create()
    jobs.look_until(["failed"], other)
    ended = find_job(jobs.database, other.id, None)
    assert (ended.error_code, ended.error_message) == ("process_ended", "the process of the job ended without a result")


def test_a_job_whose_file_was_deleted_fails_with_the_reason(jobs):
    file = jobs.upload()
    job = jobs.create(file=file)
    jobs.uploads.remove(file)
    jobs.supervisor.look()
    ended = find_job(jobs.database, job.id, None)
    assert (ended.status, ended.error_code) == ("failed", "invalid_files")
    assert "a file that was deleted" in ended.error_message


def test_too_few_examples_fail_and_too_many_jobs_are_not_created(jobs):
    job = jobs.create(file=jobs.upload(LINES.splitlines()[0] + "\n"))
    assert jobs.create(most=1) is None
    jobs.supervisor.look()
    assert "at least 10 different inputs" in find_job(jobs.database, job.id, None).error_message


def test_a_job_whose_files_cannot_be_checked_now_holds_up_no_other(jobs, monkeypatch):
    first, second = jobs.create(), jobs.create()
    real = supervisor.check_job_files

    def check(database, uploads, limits, job):
        if job.id == first.id:
            raise WorkspaceError("a process that checks a.jsonl", "exit code -9", "send the file again")
        return real(database, uploads, limits, job)

    with monkeypatch.context() as patches:
        patches.setattr(supervisor, "check_job_files", check)
        assert jobs.supervisor.look()
        assert jobs.states(first, second) == ["validating_files", "running"]
    jobs.supervisor.look()
    assert jobs.states(first, second) == ["queued", "running"]


def test_conversations_for_a_base_without_a_chat_template_fail_before_anything_is_trained(jobs):
    turns = [{"role": "user", "content": "thing"}, {"role": "assistant", "content": "a boat"}]
    lines = [{"messages": [{**turns[0], "content": f"thing {number}"}, turns[1]]} for number in range(10)]
    job = jobs.create(file=jobs.upload("".join(json.dumps(line) + "\n" for line in lines)))
    jobs.supervisor.look()
    ended = find_job(jobs.database, job.id, None)
    assert (ended.status, ended.error_code) == ("failed", "invalid_files")
    assert "a base with a chat template for conversations; got none" in ended.error_message


def test_a_state_moves_only_from_the_states_that_are_named(jobs):
    job = jobs.create()
    assert not move_job(jobs.database, job, ["running"], status="succeeded")
    assert jobs.states(job) == ["validating_files"]


def test_it_looks_again_while_a_notice_was_not_accepted(jobs):
    pending = [True, True, False]
    notices = SimpleNamespace(send_due=lambda place: place == own.place and pending.pop(0))
    own = JobSupervisor(jobs.workspace, jobs.database, jobs.uploads, lambda _root, _job: ENDS, notices)
    assert [own.look() for _ in range(3)] == [True, True, False]
