"""The message after Ctrl-C: which trainings the next run resumes, and which it starts from the beginning."""

from pathlib import Path

from components.errors import PrefixFleetError


def explain_next_run(root: Path) -> None:
    """Print on stderr which tenants' training the next run resumes, and at which step."""
    from cli.console import make_stderr
    from components.stages.train import find_resumable
    from components.stages.workspace import Workspace

    console = make_stderr()
    console.print("stopped by Ctrl-C; every file is complete.")
    try:
        steps = find_resumable(Workspace(root))
    except PrefixFleetError:
        steps = {}
    for tenant, step in steps.items():
        console.print(f"the next `prefixfleet retrain` resumes {tenant} at step {step} (out/train/{tenant}/state)")
    others = "other tenants that need a prefix" if steps else "tenants that need a prefix"
    console.print(f"{others} start from step 0; finished work is not repeated.")
