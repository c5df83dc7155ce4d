"""The services' passwords and keys: made at the first start, kept in a file that only its owner can read.

Processes get them in their environment, which other users cannot see; never on a command line.
"""

import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from components.errors import ConfigError
from components.storage.atomic_files import convert_disk_errors
from infra.services.settings import read_variables

SECRETS_FILE = "secrets.env"
_BYTES = 24


@dataclass(frozen=True)
class Secrets:
    """All secrets of the services, in hexadecimal digits, so that they need no quoting in URLs."""

    mlflow_password: str
    prefect_password: str
    ledger_password: str
    s3_access_key: str
    s3_secret_key: str

    def __repr__(self) -> str:
        return "Secrets(...)"


def read_secrets(folder: Path) -> Secrets:
    """Return the secrets in `folder`; makes them if the file is missing.

    Raises:
        ConfigError: the file lacks a secret.
        WorkspaceError: the file cannot be written.
    """
    file = folder / SECRETS_FILE
    names = [field.name for field in fields(Secrets)]
    if not file.exists():
        made = Secrets(**{name: secrets.token_hex(_BYTES) for name in names})
        with convert_disk_errors(f"write {file}"):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.writelines(f"{name.upper()}={value}\n" for name, value in asdict(made).items())
    values = read_variables(file)
    missing = [name.upper() for name in names if not values.get(name.upper())]
    if missing:
        fix = "restore the file; without it the services' databases cannot be opened, and their folder must be deleted"
        raise ConfigError(f"all secrets in {file}", f"no {', '.join(missing)}", fix)
    return Secrets(**{name: values[name.upper()] for name in names})
