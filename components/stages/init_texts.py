"""The document that a prefix starts from (`train.init_text: {file: PATH}`), read in place of its path.

With the text in the train section, fingerprint, manifest and workers need no file. Does not know tokens or training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.config import InitFile, TrainConfig
from components.errors import ConfigError

_MAX_BYTES = 1 << 20


def read_init_text(root: Path, train: TrainConfig) -> TrainConfig:
    """Return the train section with the text of the file that `init_text` names, without white space around it.

    `root` is the workspace's folder, which a relative path begins at. A section without a file is returned as it is.

    Raises:
        ConfigError: there is no such file, or it is empty, too large or not UTF-8.
    """
    if not isinstance(train.init_text, InitFile):
        return train
    return train.model_copy(update={"init_text": _read_text(root / train.init_text.file)})


def insert_init_text(root: Path, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections of params.yaml with the text in place of the file in `train.init_text`.

    A file that cannot be read stays: whoever trains with these values gets the error.
    """
    named = sections.get("train", {}).get("init_text")
    if not isinstance(named, dict):
        return dict(sections)
    try:
        text = _read_text(root / InitFile.model_validate(named).file)
    except ConfigError:
        return dict(sections)
    return {**sections, "train": {**sections["train"], "init_text": text}}


def _read_text(path: Path) -> str:
    wanted, fix = "a text file for train.init_text", "correct the path in params.yaml, or the file"
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ConfigError(f"{wanted} of at most {_MAX_BYTES:,} bytes", f"{path} with {size:,}", fix)
        text = path.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise ConfigError(wanted, f"{path}: {problem.strerror}", fix) from None
    except UnicodeDecodeError:
        raise ConfigError(wanted, f"{path}, which is not UTF-8", fix) from None
    if not text:
        raise ConfigError(wanted, f"{path}, which is empty", fix)
    return text
