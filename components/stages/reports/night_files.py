"""Reports of nights as files, out/nights/<run>.html, and the links in them. The newest hundred files are kept."""

from pathlib import Path

from components.config import NotifyConfig, Params, RegistryConfig
from components.config.console import ConsoleConfig
from components.errors import PrefixFleetError, WorkspaceError
from components.rollout.store.runs import find_newest_run
from components.stages.progress import log_warning
from components.stages.reports.night_page import write_page
from components.stages.reports.night_report import NightReport, read_night
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, write_atomic
from components.storage.database import Database
from components.storage.urls import hide_password, read_tracking_uri

_MAX_FILES = 100
_FOLDER = "nights"


def make_report(database: Database, run: int, config: ConsoleConfig, params: Params | None) -> NightReport | None:
    """Return the report of a run with the links that params.yaml has; None: there is no such run.

    Without `params` it has no prices. Raises WorkspaceError: the database does not answer.
    """
    registry, notify = (params.registry, params.notify) if params else (RegistryConfig(), NotifyConfig())
    console = f"{config.url}/nights/{run}" if config.url else ""
    links = {
        "console": console,
        "MLflow": config.mlflow or read_tracking_uri(registry.tracking_uri),
        "Prefect": config.prefect or "",
    }
    shown = {name: hide_password(url) for name, url in links.items() if url.startswith(("http://", "https://"))}
    return read_night(database, run, params.for_tenant if params else None, notify.fleet, shown)


def write_report(workspace: Workspace, run: int | None = None, target: Path | None = None) -> Path:
    """Write the report of a run (None: the last that has ended) to `target`, or to out/nights; return the file.

    Raises:
        WorkspaceError: there is no such run, the database does not answer, or the file cannot be written.
    """
    number = find_newest_run(workspace.database) if run is None else run
    report = (
        None if number is None else make_report(workspace.database, number, workspace.params.console, workspace.params)
    )
    if report is None:
        wanted = f"a run with the number {run}" if run is not None else "a run of `retrain` that has ended"
        fix = "run `prefixfleet retrain`; the console's page Nights lists all runs"
        raise WorkspaceError(wanted, "none", fix)
    folder = get_report_folder(workspace)
    path = target or folder / f"{number}.html"
    with convert_disk_errors(f"write the report {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, write_page(report).encode())
        if target is None:
            for old in sorted(folder.glob("*.html"), key=_get_number)[:-_MAX_FILES]:
                old.unlink(missing_ok=True)
    return path


def try_to_write_report(workspace: Workspace, run: int) -> Path | None:
    """Write the report of a run at its end; what fails becomes a warning. Returns the file."""
    try:
        return write_report(workspace, run)
    except PrefixFleetError as problem:
        log_warning(f"the report of run {run} is not written: {problem}")
        return None


def get_report_folder(workspace: Workspace) -> Path:
    """Return out/nights."""
    return workspace.root / "out" / _FOLDER


def _get_number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else -1
