"""The message after Ctrl-C or a stop signal: what is kept, and what the next run does."""

from pathlib import Path

from components.errors import PrefixFleetError

_SERVICES = frozenset({"serve", "worker"})
_TRAINING_COMMANDS = frozenset({"demo", "retrain", "stage"})


def explain_stop(root: Path, command: str | None, cause: str) -> None:
    """Print on stderr that `cause` stopped a command and what running it again does."""
    from cli.output import print_note

    if command in _SERVICES:
        print_note(f"stopped by {cause}.")
        return
    print_note(f"stopped by {cause}; every file is complete. Run the same command again to resume.")
    if command in _TRAINING_COMMANDS:
        explain_next_run(root)


def explain_next_run(root: Path) -> None:
    """Print on stderr which tenants' training the next run resumes, and at which step."""
    from cli.output import print_note

    try:
        from components.stages.train import find_resumable
        from components.stages.workspace import Workspace

        steps = find_resumable(Workspace(root))
    except PrefixFleetError:
        steps = {}
    except Exception:  # noqa: BLE001 - a stop during an import leaves modules half loaded, so any error can follow
        print_note("training resumes at the last saved step; finished work is not repeated.")
        return
    for tenant, step in steps.items():
        print_note(f"the next `prefixfleet retrain` resumes {tenant} at step {step} (out/train/{tenant}/state)")
    others = "other tenants that need a prefix" if steps else "tenants that need a prefix"
    print_note(f"{others} start from step 0; finished work is not repeated.")
