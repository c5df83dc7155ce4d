"""The files of a chat template, beside the tokenizer or named in `base.chat_template`, and their digest.

Reads files; does not load a model or a tokenizer, and renders nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import BaseModelError

_OWN_FILES = ("chat_template.jinja", "chat_template.json")
_OWN_FOLDER = "additional_chat_templates"
_MAX_BYTES = 1 << 20


def read_chat_template(path: Path) -> str:
    """Return the template in a file.

    Raises:
        BaseModelError: there is no such file, or it is not text in UTF-8.
    """
    wanted, fix = "a chat template in Jinja", "correct base.chat_template in params.yaml, or the file"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BaseModelError(wanted, f"{path} with more than {_MAX_BYTES:,} bytes", fix)
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise BaseModelError(wanted, f"{path}: {problem.strerror}", fix) from None
    except UnicodeDecodeError:
        raise BaseModelError(wanted, f"{path}, which is not UTF-8", fix) from None


def compute_chat_digest(folder: Path, template: Path | None, kwargs: Mapping[str, Any]) -> str:
    """Return the hex sha256 of what conversations are rendered with beside the tokenizer's own files; "" if nothing.

    `folder` is the base's. A template in tokenizer_config.json is part of the tokenizer's digest.

    Raises:
        BaseModelError: `template` cannot be read.
    """
    if template is not None:
        parts = [("", read_chat_template(template).encode())]
    else:
        files = [folder / name for name in _OWN_FILES] + sorted((folder / _OWN_FOLDER).glob("*.jinja"))
        parts = [(file.name, file.read_bytes()) for file in files if file.is_file()]
    if kwargs:
        parts.append(("kwargs", json.dumps(kwargs, sort_keys=True, ensure_ascii=True).encode()))
    if not parts:
        return ""
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
