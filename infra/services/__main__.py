"""`python -m infra.services`: start, stop, use. `make services`, `services-stop` and `demo-fleet` call it."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from cli.messages import show_error
from cli.output import print_line, print_note, print_table
from components.errors import PrefixFleetError, WorkspaceError
from components.storage.atomic_files import hold_file_lock
from infra.services.addresses import make_client_environment
from infra.services.catalogue import list_services
from infra.services.process_table import ProcessTable
from infra.services.secret_file import SECRETS_FILE, read_secrets
from infra.services.settings import Settings, read_settings
from infra.services.start import get_log_file, start_services, stop_services

_AFTER_START = """\
Log of a service: {logs}. Ports: {file}. Secrets: {secrets}.
Run a command with these services, for example:
  {python} -m infra.services run prefixfleet -C {workspace} status
  make demo-fleet       trains four tenants on the workers
  make services-stop    ends these processes; all data stay in {folder}"""


def main() -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.services", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/services"), help="folder of settings, data and logs")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("start", help="start what does not run")
    commands.add_parser("stop", help="end what was started")
    commands.add_parser("demo", help="train the built-in tenants on the workers")
    run = commands.add_parser("run", help="run a command with the services' addresses and keys")
    run.add_argument("words", nargs=argparse.REMAINDER)
    chosen = parser.parse_args()
    try:
        if chosen.command == "run":
            return _run(read_settings(chosen.folder), chosen.words)
        if chosen.command == "demo":
            return _run_demo(read_settings(chosen.folder))
        folder = chosen.folder.resolve()
        with hold_file_lock(folder / "lock", folder, "wait until that command ends"):
            if chosen.command == "start":
                _start(read_settings(folder))
            else:
                _stop(folder)
    except PrefixFleetError as problem:
        show_error(problem)
        return 2
    return 0


def _start(settings: Settings) -> None:
    secrets = read_secrets(settings.folder)
    waves, table = list_services(settings, secrets), ProcessTable(settings.folder)
    if not start_services(settings, waves, table, print_note):
        print_note("all services run already")
    running = [(one, table.find_running(one.name)) for wave in waves for one in wave]
    rows = [(one.name, one.address, str(found.process.pid), one.description) for one, found in running if found]
    print_table("Services", ("service", "address", "process", "what it is"), rows)
    print_line(
        _AFTER_START.format(
            logs=get_log_file(settings, "NAME"),
            file=settings.file,
            secrets=settings.folder / SECRETS_FILE,
            python=os.path.relpath(sys.executable),
            workspace=os.path.relpath(settings.workspace),
            folder=settings.folder,
        )
    )


def _stop(folder: Path) -> None:
    table = ProcessTable(folder)
    if not table.list_all():
        print_note(f"no services of {folder} run")
    stop_services(table, print_note)


def _run_demo(settings: Settings) -> int:
    table = ProcessTable(settings.folder)
    if not any(table.find_running(name) for name, _ in table.list_all()):
        raise WorkspaceError("services that run", f"none in {settings.folder}", "start them: `make services`")
    return _run(settings, [sys.executable, "-m", "infra.services.demo_fleet", str(settings.folder)])


def _run(settings: Settings, words: list[str]) -> int:
    environment = make_client_environment(settings, read_secrets(settings.folder), settings.folder / "prefect")
    return subprocess.run(words, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
