"""The commands `keys create`, `keys list` and `keys revoke`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments import check_tenant

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from components.access.api_keys import ApiKey, ApiKeys
    from components.rollout.types import LedgerAction

app = typer.Typer(help="API keys of the server: create, list and revoke them.", no_args_is_help=True)


class _FleetRole(StrEnum):
    viewer = "viewer"
    operator = "operator"
    admin = "admin"


_TenantArgument = Annotated[str | None, typer.Argument(help="Tenant id.", callback=check_tenant)]


@app.command()
def create(
    ctx: typer.Context,
    tenant: _TenantArgument = None,
    role: Annotated[
        _FleetRole | None, typer.Option(help="A key for all tenants: to look at, to operate, or with everything.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="The same as --role admin.")] = False,
    expires: Annotated[
        str | None, typer.Option(help="Lifetime, such as 90d, 12h, 30m or 45s. Default: no expiry.")
    ] = None,
    note: Annotated[str, typer.Option(help="Owner or purpose; shown by `keys list`.")] = "",
) -> None:
    """Create a key of a tenant, or one with a role. The key is printed once, on stdout; only its hash is stored.

    A viewer reads the console, the list of models and /metrics. An operator also moves versions, generates text and
    sends feedback for every tenant. An admin may do everything.
    """
    from cli.output import print_line, print_note
    from components.access.api_keys import format_time, parse_duration
    from components.errors import ConfigError

    chosen = [*([role.value] if role else []), *(["admin"] if admin else []), *([tenant] if tenant else [])]
    if len(set(chosen)) != 1:
        got = " and ".join(chosen) or "neither"
        raise ConfigError("either a tenant, or --role, or --admin", got, "pass one of them")
    seconds = None if expires is None else parse_duration(expires)
    with _open_keys(ctx.obj) as keys:
        key, text = keys.create(
            tenant, note, seconds, role="admin" if role is None else role.value, record=_record("create-key")
        )
    print_line(text)
    saved = "save it now, it cannot be shown again"
    print_note(f"key {key.id} of {key.holder}, expires: {format_time(key.expires_s)}; {saved}")
    if tenant and not _is_known(ctx.obj, tenant):
        print_note(
            f"{tenant} has no data in this workspace: if the name is wrong, revoke the key (keys revoke {key.id})"
        )


@app.command("list")
def list_(ctx: typer.Context, tenant: _TenantArgument = None) -> None:
    """Show all keys, or those of one tenant, without their secrets."""
    from cli.output import print_table
    from components.access.api_keys import format_time

    with _open_keys(ctx.obj) as keys:
        listed = keys.list(tenant)
    columns = ("key", "tenant or role", "note", "created", "expires", "revoked")
    print_table(
        "API keys (times in UTC)",
        columns,
        [(one.id, one.tenant or f"({one.role})", one.note, *map(format_time, one.times)) for one in listed],
    )


@app.command()
def revoke(ctx: typer.Context, key: Annotated[str, typer.Argument(help="Id of a key, from `keys list`.")]) -> None:
    """Revoke a key. Running servers refuse it after at most serve.keys_seconds."""
    from cli.output import print_note

    with _open_keys(ctx.obj) as keys:
        revoked = keys.revoke(key, _record("revoke-key"))
    print_note(f"key {revoked.id} of {revoked.holder} is revoked")


def _is_known(root: Path, tenant: str) -> bool:
    """Return whether a tenant has data, or whether this workspace has no tenant's data, so that nobody can say."""
    from components.stages.workspace import Workspace

    workspace = Workspace(root)
    folders = [each for each in (workspace.data, workspace.drops) if each.is_dir()]
    names = {path.name for folder in folders for path in folder.iterdir() if not path.name.startswith(".")}
    return not names or tenant in names


def _record(action: "LedgerAction") -> "Callable[[Connection, ApiKey], None]":
    """Return a function that writes to the ledger what is done with a key, and by whom."""
    from components.rollout.store.ledger import write_entries
    from components.rollout.types import LedgerEntry
    from components.stages.rollout.actors import find_command_actor

    actor = find_command_actor()

    def record(connection: "Connection", key: "ApiKey") -> None:
        tenant, why = key.tenant or "", f"key {key.id} of {key.holder}"
        entry = LedgerEntry(tenant=tenant, by=actor.name, origin=actor.origin, action=action, why=why)
        write_entries(connection, entry)

    return record


@contextmanager
def _open_keys(root: Path) -> "Iterator[ApiKeys]":
    from components.access.api_keys import ApiKeys
    from components.stages.workspace import Workspace

    database = Workspace(root).database
    try:
        yield ApiKeys(database, time.time)
    finally:
        database.close()
