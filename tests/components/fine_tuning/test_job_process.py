"""A job's process outlives whoever started it; its lock tells whether it lives, whatever ended it."""

import signal
import sys

from waiting import wait_until

from components.fine_tuning.job_process import JobProcess

SLEEPS = [sys.executable, "-c", "import time; print('on', flush=True); time.sleep(600)"]


def test_one_process_at_a_time_is_seen_by_others_and_stopped_by_its_job_alone(tmp_path):
    first, other = JobProcess(tmp_path), JobProcess(tmp_path)
    assert first.find_job() is None
    assert first.start("ftjob-1", SLEEPS, tmp_path / "alder" / "1.log", lambda: True)
    assert other.find_job() == "ftjob-1"
    assert not other.start("ftjob-2", SLEEPS, tmp_path / "2.log", lambda: True)
    other.stop("ftjob-2", signal.SIGTERM)
    wait_until(lambda: (tmp_path / "alder" / "1.log").read_text() == "on\n", "the process")
    assert other.find_job() == "ftjob-1"
    other.stop("ftjob-1", signal.SIGTERM)
    wait_until(lambda: first.find_job() is None, "its end")
    assert other.find_job() is None
    other.stop("ftjob-1", signal.SIGTERM)
    assert not other.start("ftjob-2", SLEEPS, tmp_path / "2.log", lambda: False)
    with first.hold_if_free() as is_free:
        assert is_free
        assert not other.start("ftjob-2", SLEEPS, tmp_path / "2.log", lambda: True)
    assert other.start("ftjob-2", [sys.executable, "-c", ""], tmp_path / "2.log", lambda: True)
    wait_until(lambda: other.find_job() is None, "the end of the next one")
