"""PostgreSQL: finds its programs, and makes a cluster with one database and role each for MLflow, Prefect, the ledger.

The cluster has no Unix socket and no login without a password. PostgreSQL refuses to run as root, so root runs it as
another user. Knows the program's options; does not know how a process is started.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.errors import WorkspaceError
from components.storage.atomic_files import convert_disk_errors, remove_tree
from infra.services.settings import Settings

_DEBIAN_FOLDER = Path("/usr/lib/postgresql")
_USERS = ("postgres", "nobody")
"""Users that root runs the server as: the first that exists."""
_HOST_RULES = "host all all 127.0.0.1/32 scram-sha-256\n"
_OPTIONS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200")


def find_programs(settings: Settings) -> Path:
    """Return the folder of initdb and postgres.

    Raises:
        WorkspaceError: PostgreSQL is not installed.
    """
    if settings.postgresql_bin:
        candidates = [(settings.folder / settings.postgresql_bin).resolve()]
    else:
        on_path = shutil.which("initdb")
        debian = sorted(_DEBIAN_FOLDER.glob("*/bin"), key=lambda folder: folder.parent.name.zfill(4), reverse=True)
        candidates = [*([Path(on_path).resolve().parent] if on_path else []), *debian]
    for folder in candidates:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    got = f"no initdb and postgres in {candidates[0]}" if candidates else f"none on PATH or in {_DEBIAN_FOLDER}"
    fix = f"install it (Debian: apt-get install postgresql), or set POSTGRESQL_BIN in {settings.file}"
    raise WorkspaceError("PostgreSQL's programs initdb and postgres", got, fix)


def make_cluster(programs: Path, folder: Path, passwords: Mapping[str, str]) -> None:
    """Make a cluster in `folder`, with a role and a database of its own for each name in `passwords`; once.

    Raises:
        WorkspaceError: root's other user cannot enter the folder, or PostgreSQL refuses.
    """
    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    with convert_disk_errors(f"write {unfinished}"):
        remove_tree(unfinished)
        unfinished.mkdir(parents=True)
        if os.geteuid() == 0:
            account = _find_account()
            os.chown(unfinished, account.pw_uid, account.pw_gid)
            _check_reachable(unfinished, account.pw_name)
        options = ("--username=postgres", "--auth=reject", "--encoding=UTF8", "--no-sync", "--no-instructions")
        _run([programs / "initdb", f"--pgdata={unfinished}", *options])
        (unfinished / "pg_hba.conf").write_text(_HOST_RULES, encoding="ascii")
        statements = "".join(
            f"CREATE ROLE {name} LOGIN PASSWORD '{password}'\nCREATE DATABASE {name} OWNER {name}\n"
            for name, password in passwords.items()
        )
        _run([programs / "postgres", "--single", "-D", unfinished, "postgres"], statements)
        unfinished.rename(folder)


def make_command(programs: Path, folder: Path, port: int) -> list[str]:
    """Return the command of the server, which stays in the foreground."""
    options = [part for option in _OPTIONS for part in ("-c", option)]
    return [*_as_other_user(), str(programs / "postgres"), "-D", str(folder), "-p", str(port), *options]


def _run(command: Sequence[str | Path], text: str = "") -> None:
    arguments = [*_as_other_user(), *map(str, command)]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        arguments, input=text, env=environment, cwd="/", capture_output=True, text=True, errors="replace", check=False
    )
    failed = [line for line in done.stderr.splitlines() if "ERROR" in line or "FATAL" in line]
    if done.returncode or failed:
        got = (failed or done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        wanted = f"a new PostgreSQL cluster made by {Path(command[0]).name}"
        raise WorkspaceError(wanted, got, "correct what it names, and run `make services` again")


def _as_other_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    account = _find_account()
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]


def _find_account() -> pwd.struct_passwd:
    known = {account.pw_name: account for account in pwd.getpwall()}
    return next(known[name] for name in _USERS if name in known)


def _check_reachable(folder: Path, user: str) -> None:
    if subprocess.run([*_as_other_user(), "test", "-w", str(folder)], cwd="/", check=False).returncode:
        got = f"{folder.parent}, which the user {user} cannot enter"
        fix = "run as another user than root, or name another folder: make services SERVICES=/var/tmp/services"
        raise WorkspaceError(f"a folder that {user} can enter, since PostgreSQL does not run as root", got, fix)
