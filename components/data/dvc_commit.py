"""DVC's command line with a memory, for `commit`: `python -P .../dvc_commit.py commit --force`, in a workspace.

`dvc commit` reads a folder again for every stage that depends on it and for every step: a fleet's folders three times.
Nothing changes them meanwhile, since the workspace is locked; so this process keeps what it has read. The records are
the same as those of `dvc commit`.
"""

import copy
import sys
from collections.abc import Callable
from typing import Any

_Built = tuple[Any, Any, Any]
"""Object database, facts and object of a file or folder."""


def remember_builds(build: Callable[..., _Built]) -> Callable[..., _Built]:
    """Return `dvc_data.hashfile.build.build` with a memory by database, path and hash.

    What was built to be stored serves for a dry run too; not the other way round.
    """
    built: dict[tuple[Any, ...], _Built] = {}

    def build_once(odb: Any, path: str, fs: Any, name: str, **options: Any) -> _Built:
        keys = [(id(odb), id(fs), path, name, is_dry) for is_dry in (False, True)]
        known = next((built[key] for key in keys[: 1 + bool(options.get("dry_run"))] if key in built), None)
        if known is None:
            known = built[keys[bool(options.get("dry_run"))]] = build(odb, path, fs, name, **options)
        staging, meta, item = known
        return staging, copy.copy(meta), item

    return build_once


def main(arguments: list[str]) -> int:
    """Run one command of DVC's; return its exit code."""
    from dvc import output
    from dvc.cli import main as run

    output.build = remember_builds(output.build)
    return int(run(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
