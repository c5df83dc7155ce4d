"""Reads a job's files into the splits of its tenant. Knows the table of files and the folder; does not know drops."""

from collections.abc import Sequence

from components.config import DataConfig
from components.data.schema import Example
from components.errors import DataError
from components.fine_tuning.file_checks import read_examples
from components.fine_tuning.splits import divide
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


def _read(database: Database, uploads: Uploads, limits: DataConfig, file_id: str) -> Sequence[Example]:
    file = find_file(database, file_id, None)
    if file is None or not uploads.get_path(file).is_file():
        raise DataError(f"the file {file_id}", "a file that was deleted", "upload it again, and create another job")
    return read_examples(uploads.get_path(file), file.name, limits)
