"""The process that measures one cell: `python -m components.reproduction.worker JOB.json`.

It writes JSON lines to stdout: `{"progress": [work, done, total, note]}`, and before exit code 2 `{"error": [class,
wanted, got, fix]}`. When its standard input closes, because the parent process has ended for any reason, it exits
immediately. On SIGINT (Ctrl-C) it saves the training first. If the cell's texts exist but some scores are missing, it
only scores them again. Knows one cell; does not know the experiment.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict

from components.config import BaseConfig
from components.errors import PrefixFleetError
from components.reproduction.cells import Cell, read_result, write_result
from components.reproduction.sources import DatasetKind, read_published_dataset
from components.storage.atomic_files import write_atomic

STOPPED_EXIT_CODE = 130


class CellJob(BaseModel):
    """A cell with the paths of its base, its data and the output folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Cell
    base: str
    data: str
    kind: DatasetKind
    out: Path

    @property
    def work_folder(self) -> Path:
        """Folder of the cell's temporary files: generated texts, messages, the state of training."""
        return self.out / "work" / self.cell.key

    @property
    def state_folder(self) -> Path:
        """Folder in which training is saved until the cell is done."""
        return self.work_folder / "state"

    @property
    def predictions_path(self) -> Path:
        """File of the generated texts as JSON lines, in the order of the inputs."""
        return self.work_folder / "predictions.jsonl"


def run_job(job: CellJob, channel: TextIO) -> None:
    """Measure the job's cell, or only score it again, and write its result and its texts."""
    from components.model.base.load import load_base
    from components.reproduction.measure import make_cell_functions, measure_cell, rescore

    def report(work: str, done: int, total: int, note: str) -> None:
        _write_message(channel, {"progress": [work, done, total, note]})

    base, data = load_base(BaseConfig(path=job.base)), read_published_dataset(job.data, [job.kind])
    earlier, texts = read_result(job.out, job.cell), _read_texts(job.predictions_path)
    if earlier is not None and len(texts) == len(data.select_test_inputs(job.cell.inputs)):
        write_result(job.out, rescore(earlier, base, data, texts, make_cell_functions()))
        return
    result, predictions = measure_cell(job.cell, base, data, make_cell_functions(), job.state_folder, report)
    write_atomic(job.predictions_path, "".join(json.dumps(text) + "\n" for text in predictions).encode())
    write_result(job.out, result)


def main(path: str) -> int:
    """Run the job that the file describes and return the exit code."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of libraries goes to stderr, stdout is for messages
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_exit_when_stdin_closes, daemon=True).start()
    try:
        run_job(CellJob.model_validate_json(Path(path).read_bytes()), channel)
    except PrefixFleetError as problem:
        _write_message(channel, {"error": problem.to_json()})
        return 2
    except KeyboardInterrupt:
        return STOPPED_EXIT_CODE
    return 0


def _read_texts(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write_message(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _exit_when_stdin_closes() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
