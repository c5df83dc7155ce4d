"""The commands `backup` and `restore`: a way back after a lost machine or a mistake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from components.stages.backup.make import BackupResult
    from components.stages.backup.restore import RestoreResult
    from components.storage.backups.store import BackupStore


def backup(
    ctx: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(help="Folder, or s3://, gs:// or file:// URL. Default: backup.target in params.yaml."),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Then remove all but this many newest backups. Default: backup.keep.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only list the backups that are there.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Only read all backups again, to find damage.")] = False,
) -> None:
    """Copy everything of the fleet, from one moment: databases, artifacts, dataset versions, the workspace's files.

    Files that the target has already are not copied again. A backup that was stopped leaves the earlier ones as they
    are; the next one goes on. Secrets are not copied.
    """
    from cli.messages import show_progress
    from cli.output import print_line
    from components.errors import ConfigError
    from components.stages.workspace import Workspace
    from components.storage.backups.store import open_backups

    if list_ and verify:
        raise typer.BadParameter("name one of --list and --verify")
    if target is None:
        config = Workspace(ctx.obj).params.backup
        target, keep = config.target, config.keep if keep is None else keep
    if target is None:
        fix = "name one, `prefixfleet backup FOLDER_OR_URL`, or set backup.target in params.yaml"
        raise ConfigError("a target for the backup", "none", fix)
    if list_:
        _print_list(open_backups(target))
        return
    with show_progress():
        if verify:
            from components.stages.backup.keeping import verify_backups
            from components.stages.progress import count_nouns

            read = verify_backups(open_backups(target))
            print_line(f"{count_nouns(read.backups, 'backup')} with {count_nouns(read.objects, 'object')}: no damage")
            return
        from components.stages.backup.make import make_backup

        _print_result(make_backup(Workspace(ctx.obj), target, keep))


def restore(
    source: Annotated[str, typer.Argument(help="Folder or URL with backups.")],
    folder: Annotated[Path, typer.Argument(help="New or empty folder for the workspace.")],
    backup_id: Annotated[
        str | None, typer.Option("--backup", help="Id of the backup, as `backup --list` shows it. Default: the newest.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Empty PostgreSQL database for the rollout's tables, if the copy is of PostgreSQL."),
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Empty PostgreSQL database for MLflow's tables, if the copy is of PostgreSQL.")
    ] = None,
    artifacts: Annotated[
        str | None, typer.Option(help="Folder or URL for MLflow's artifacts. Default: the new workspace.")
    ] = None,
) -> None:
    """Restore a backup into a new folder. Every file is verified before anything is changed.

    Prints what was done and what is left to do by hand.
    """
    from cli.messages import show_progress
    from components.stages.backup.restore import restore_backup

    with show_progress():
        result = restore_backup(
            source, folder, backup_id=backup_id, database=database, mlflow=mlflow, artifacts=artifacts
        )
    _print_restored(result)


def _print_list(store: "BackupStore") -> None:
    from cli.output import print_columns, print_line
    from components.stages.backup.keeping import list_backups

    backups = list_backups(store)
    if not backups:
        print_line(f"no backup at {store.url}")
        return
    rows = [
        [backup_id, "-", "-", "-", "-", problem]
        if manifest is None
        else [
            backup_id,
            manifest.ended_at,
            f"{manifest.file_count:,}",
            f"{manifest.byte_count / 1e6:,.1f}",
            f"{manifest.new_bytes / 1e6:,.1f}",
            f"PrefixFleet {manifest.product_version}, {manifest.facts['folder']}",
        ]
        for backup_id, manifest, problem in backups
    ]
    print_columns(["backup", "complete since", "files", "MB", "new MB", "of"], rows)


def _print_result(result: "BackupResult") -> None:
    from cli.output import print_line

    made = result.manifest
    size = (
        f"{made.file_count:,} files, {made.byte_count / 1e6:,.1f} MB, of which {made.new_bytes / 1e6:,.1f} MB are new"
    )
    print_line(f"backup {made.id}: {size}; verified")
    for text in made.facts["outside"]:
        print_line(f"not in it: {text}")
    if result.removed:
        print_line(f"removed older backups: {', '.join(result.removed)}")


def _print_restored(result: "RestoreResult") -> None:
    from cli.output import print_line
    from components.storage.urls import hide_password

    made, done = result.manifest, result.finished
    print_line(f"restored backup {made.id} of {made.facts['folder']} into {result.workspace}")
    print_line(
        f"{made.file_count:,} files, all verified; {done.champions:,} tenants with a champion; ledger: {done.ledger}"
    )
    for url in result.filled:
        print_line(f"filled {hide_password(url)}")
    if done.forgotten:
        print_line(f"forgotten again: {', '.join(done.forgotten)}")
    print_line("By hand:")
    for text in done.by_hand:
        print_line(f"- {text}")
