"""Copy a base into a folder once: its configuration, tokenizer and safetensors, from any address that fsspec knows.

The folder appears once it is complete, and stays if it is there. Knows no component; the job base-model runs it.
"""

import shutil
import sys
from pathlib import Path

from fsspec.core import url_to_fs

_SUFFIXES = {".jinja", ".json", ".model", ".safetensors", ".txt"}
"""Of what a base needs. Others, such as pickled weights, stay where they are."""
_CONFIG, _WEIGHTS = "config.json", ".safetensors"


def fetch_base(source: str, target: Path) -> str:
    """Copy the files and return what was done.

    `source` is a folder's URL: `s3://BUCKET/FOLDER`, `hf://ORGANISATION/NAME@REVISION`, `file:///FOLDER`.

    Raises:
        SystemExit: the source has no config.json or no safetensors; nothing is left in the target.
    """
    if target.exists():
        return f"{target} is there and stays as it is"
    files, root = url_to_fs(source)
    names = [name for name in files.ls(root, detail=False) if Path(name).suffix in _SUFFIXES]
    if not any(Path(name).name == _CONFIG for name in names) or not any(name.endswith(_WEIGHTS) for name in names):
        sys.exit(
            f"wanted: a base with {_CONFIG} and safetensors; got: none in {source}; fix: correct the job's BASE_SOURCE"
        )
    incoming = target.with_name(f".{target.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    for name in names:
        files.get_file(name, str(incoming / Path(name).name))
    incoming.rename(target)
    return f"{len(names)} files copied from {source} to {target}"


if __name__ == "__main__":
    sys.stdout.write(f"{fetch_base(sys.argv[1], Path(sys.argv[2]))}\n")
