"""What Ctrl-C leaves, in words: what the next run will resume and what it will start clean."""

from pathlib import Path

from components.errors import PrefixFleetError


def explain_next_run(root: Path) -> None:
    """Say on stderr which tenants' training resumes, and at which step."""
    from cli.console import make_stderr
    from components.stages.train import find_resumable
    from components.stages.workspace import Workspace

    console = make_stderr()
    console.print("stopped by Ctrl-C; nothing is half-written.")
    try:
        steps = find_resumable(Workspace(root))
    except PrefixFleetError:
        steps = {}
    for tenant, step in steps.items():
        console.print(f"the next `prefixfleet retrain` resumes {tenant} at step {step} (out/train/{tenant}/state)")
    rest = "other tenants that still need a prefix start clean" if steps else "the next run starts clean"
    console.print(f"{rest}; what was finished is not done again.")
