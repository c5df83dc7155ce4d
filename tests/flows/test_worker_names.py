"""Names of workers and queues, which a worker's process makes without importing Prefect."""

import sys

from processes import run_in

from flows.worker_names import make_queue_name, make_worker_name


def test_a_workers_name_ends_with_its_queue():
    assert make_worker_name("box", "gpu-0", "0a1b") == f"box-gpu-0-{make_queue_name('0a1b')}"


def test_a_process_that_keeps_workers_running_imports_no_prefect(tmp_path):
    code = "import sys, flows.worker_process; print('prefect' in sys.modules)"
    assert run_in(tmp_path, sys.executable, "-c", code).stdout == "False\n"
