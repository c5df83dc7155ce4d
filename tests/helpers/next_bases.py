"""A second base for a workspace, to which its fleet can move."""

import shutil
from pathlib import Path


def add_next_base(root: Path) -> None:
    """Make next/, a base like base/ with other weights."""
    import torch
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(root / "base")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    shutil.copytree(root / "base", root / "next")
    model.save_pretrained(root / "next")
