"""The message after Ctrl-C: which trainings the next run resumes, and which it starts from the beginning."""

from pathlib import Path

from components.errors import PrefixFleetError


def explain_next_run(root: Path) -> None:
    """Print on stderr which tenants' training the next run resumes, and at which step."""
    from cli.output import print_note
    from components.stages.train import find_resumable
    from components.stages.workspace import Workspace

    print_note("stopped by Ctrl-C; every file is complete.")
    try:
        steps = find_resumable(Workspace(root))
    except PrefixFleetError:
        steps = {}
    for tenant, step in steps.items():
        print_note(f"the next `prefixfleet retrain` resumes {tenant} at step {step} (out/train/{tenant}/state)")
    others = "other tenants that need a prefix" if steps else "tenants that need a prefix"
    print_note(f"{others} start from step 0; finished work is not repeated.")
