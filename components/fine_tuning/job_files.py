"""Checks a job's files, and reads them into the splits of its tenant.

Knows the table of files and the folder; does not know drops.
"""

from collections.abc import Sequence
from pathlib import Path

from components.config import DataConfig
from components.data.schema import Example
from components.errors import DataError
from components.fine_tuning.file_checks import read_examples
from components.fine_tuning.file_process import check_file
from components.fine_tuning.splits import divide, require_inputs
from components.fine_tuning.uploads import Uploads
from components.rollout.store.tuning_jobs import TuningJob
from components.rollout.store.uploaded_files import find_file
from components.storage.database import Database


def read_job_splits(
    database: Database, uploads: Uploads, limits: DataConfig, job: TuningJob, *, has_data: bool
) -> dict[str, list[Example]]:
    """Return split -> examples. `has_data`: whether the tenant has data already.

    Raises:
        DataError: a file was deleted, a line is no valid example, or there are too few examples.
        WorkspaceError: the disk or the database refuses.
    """
    training = _read(database, uploads, limits, job.training_file)
    validation = _read(database, uploads, limits, job.validation_file) if job.validation_file else None
    return divide(training, validation, has_data=has_data)


def check_job_files(database: Database, uploads: Uploads, limits: DataConfig, job: TuningJob) -> bool:
    """Check a job's files in processes of their own; return whether they hold conversations.

    Raises:
        DataError: as `read_job_splits`.
        WorkspaceError: the disk or the database refuses.
    """
    files = [_find(database, uploads, file_id) for file_id in (job.training_file, job.validation_file) if file_id]
    training, *validation = [check_file(path, name, limits) for path, name in files]
    require_inputs(training.inputs, validation[0].inputs if validation else None)
    return any(facts.has_conversations for facts in (training, *validation))


def _read(database: Database, uploads: Uploads, limits: DataConfig, file_id: str) -> Sequence[Example]:
    path, name = _find(database, uploads, file_id)
    return read_examples(path, name, limits)


def _find(database: Database, uploads: Uploads, file_id: str) -> tuple[Path, str]:
    """Return a file's path, and what errors call it."""
    file = find_file(database, file_id, None)
    if file is None or not uploads.get_path(file).is_file():
        raise DataError(f"the file {file_id}", "a file that was deleted", "upload it again, and create another job")
    return uploads.get_path(file), file.name
