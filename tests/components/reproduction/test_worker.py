import io
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from components.reproduction.cells import read_result
from components.reproduction.worker import CellJob, run_job


def test_a_cell_that_lacks_scores_is_scored_again_and_not_trained_again(make_job: Callable[..., CellJob]) -> None:
    job, channel = make_job(), io.StringIO()
    run_job(job, channel)
    first = read_result(job.out, job.cell)
    assert first is not None
    works = [json.loads(line)["progress"][0] for line in channel.getvalue().splitlines()]
    assert set(works) == {"training", "decoding"}
    path = job.out / "cells" / f"{job.cell.key}.json"
    path.write_text(first.model_copy(update={"values": first.values[:1], "train_seconds": 77.0}).model_dump_json())
    channel = io.StringIO()
    run_job(job, channel)
    again = read_result(job.out, job.cell)
    assert again is not None
    assert (again.values, again.train_seconds) == (first.values, 77.0)
    assert channel.getvalue() == ""


@pytest.mark.slow
def test_an_error_is_written_as_a_message_before_exit_code_2(make_job: Callable[..., CellJob]) -> None:
    job = make_job()
    description = job.out.parent / "job.json"
    description.write_text(job.model_copy(update={"data": str(job.out / "gone")}).model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-m", "components.reproduction.worker", str(description)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output = process.stdout.read()
    assert process.wait(60) == 2
    process.stdin.close()
    kind, wanted, *_ = json.loads(output)["error"]
    assert (kind, wanted) == ("DataError", "a data set of dialogsum")
