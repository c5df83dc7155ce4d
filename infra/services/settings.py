"""The settings of the services: ports and folders, from settings.env in their folder. Knows no service."""

import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import ConfigError
from components.storage.atomic_files import convert_disk_errors

SETTINGS_FILE = "settings.env"
PROJECT = Path(__file__).resolve().parents[2]
"""The checkout whose code the services run."""

Port = Annotated[int, Field(gt=0, lt=65536)]


class Settings(BaseModel):
    """The values of settings.env; a variable has the name of its field in capital letters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    postgresql_port: Port
    s3_port: Port
    mlflow_port: Port
    prefect_port: Port
    serve_port: Port
    workspace: Path
    gpu_workers: int = Field(gt=0)
    s3_server: Literal["auto", "ceph", "moto"]
    ceph_monitor_port: Port
    postgresql_bin: str

    @property
    def file(self) -> Path:
        """The file of these settings, for messages."""
        return self.folder / SETTINGS_FILE

    @property
    def logs(self) -> Path:
        """The folder of the services' logs."""
        return self.folder / "logs"


def read_settings(folder: Path) -> Settings:
    """Return the settings of the services in `folder`; copies the default file there if it has none.

    Raises:
        ConfigError: an unknown variable or an impossible value.
        WorkspaceError: the folder cannot be written.
    """
    folder = folder.resolve()
    file = folder / SETTINGS_FILE
    with convert_disk_errors(f"write {file}"):
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            shutil.copyfile(Path(__file__).with_name(SETTINGS_FILE), file)
    values = {name.lower(): value for name, value in read_variables(file).items()}
    try:
        settings = Settings.model_validate({**values, "folder": folder})
    except ValidationError as problem:
        got = "; ".join(f"{str(one['loc'][0]).upper()}: {one['msg']}" for one in problem.errors())
        fix = f"correct it, or delete the file to get the defaults of {Path(__file__).with_name(SETTINGS_FILE)}"
        raise ConfigError(f"valid settings in {file}", got, fix) from None
    return settings.model_copy(update={"workspace": (folder / settings.workspace).resolve()})


def read_variables(file: Path) -> dict[str, str]:
    """Return the lines NAME=VALUE of a file; other lines are ignored."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, _, value in pairs}
