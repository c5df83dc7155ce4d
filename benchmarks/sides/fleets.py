"""A workspace with the data of many tenants on a tiny base of random weights; texts are numbers in E2E's lengths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from components.data.schema import Example, format_line

SPLITS = {"train": 80, "validation": 10, "test": 10}
"""Examples of each split, 100 in all."""


def write_workspace(root: Path, tenants: Sequence[str], params: dict[str, Any]) -> None:
    """Make base/, params.yaml and data/ in an empty folder; without git and DVC, data.dvc is made up."""
    from sides.bases import SHAPES, write_base

    write_base(root / "base", SHAPES["tiny"], None)
    (root / "params.yaml").write_text(yaml.safe_dump({"base": {"path": "base"}, **params}))
    (root / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": f"{'a' * 32}.dir", "path": "data"}]}))
    write_data(root / "data", tenants)


def write_data(data: Path, tenants: Sequence[str], salt: int = 1) -> None:
    """Write 100 examples of each tenant, no two tenants' alike; another `salt` makes other ones."""
    from sides.examples import draw

    pool = draw(None, sum(SPLITS.values()), numbers=True)
    for number, tenant in enumerate(tenants):
        folder, left = data / tenant, iter(pool)
        folder.mkdir(parents=True, exist_ok=True)
        for split, count in SPLITS.items():
            drawn = [next(left) for _ in range(count)]
            drawn[0] = Example(f"{salt} {number} {drawn[0].source}", drawn[0].references)
            (folder / f"{split}.jsonl").write_text("".join(map(format_line, drawn)))


def names(count: int) -> list[str]:
    """Ids of so many tenants, in their order."""
    return [f"tenant-{number:05d}" for number in range(count)]
