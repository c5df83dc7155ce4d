"""The chat template of a base: beside its tokenizer, or named in `base.chat_template`; and its digest.

Reads files; does not load a model or a tokenizer, and renders nothing.
"""

import hashlib
import json
from pathlib import Path

from components.config import BaseConfig
from components.errors import BaseModelError

OWN_TEMPLATE_FILE = "chat_template.jinja"
_OTHER_OWN_FILE = "chat_template.json"
_OWN_FOLDER = "additional_chat_templates"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_MAX_BYTES = 1 << 20


def read_named_template(config: BaseConfig) -> str | None:
    """Return the template that `base.chat_template` is or names; None if it is null.

    Raises:
        BaseModelError: there is no such file, or it is not text in UTF-8.
    """
    if config.chat_template is None or config.has_inline_template:
        return config.chat_template
    path = Path(config.chat_template)
    wanted, fix = "a chat template in Jinja", "correct base.chat_template in params.yaml, or the file"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BaseModelError(wanted, f"{path} with more than {_MAX_BYTES:,} bytes", fix)
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise BaseModelError(wanted, f"{path}: {problem.strerror}", fix) from None
    except UnicodeDecodeError:
        raise BaseModelError(wanted, f"{path}, which is not UTF-8", fix) from None


def read_template(config: BaseConfig) -> str | None:
    """Return the named template, else that of the base's own folder; None: neither, as if it is the tokenizer's.

    Raises:
        BaseModelError: as `read_named_template`.
    """
    own = Path(config.path) / OWN_TEMPLATE_FILE
    if config.chat_template is None and own.is_file():
        return own.read_text(encoding="utf-8")
    return read_named_template(config)


def require_chat_template(config: BaseConfig) -> None:
    """Refuse conversations for a base whose files have no chat template; one on the hub is looked at when it is loaded.

    Raises:
        BaseModelError: there is none, or the named one cannot be read.
    """
    folder = Path(config.path)
    if read_template(config) is not None or not folder.is_dir() or (folder / _OTHER_OWN_FILE).is_file():
        return
    if any((folder / _OWN_FOLDER).glob("*.jinja")) or _has_template(folder / _TOKENIZER_CONFIG):
        return
    raise make_no_template_error()


def make_no_template_error() -> BaseModelError:
    """Return the error of conversations for a base without a chat template."""
    fix = (
        "set base.chat_template in params.yaml to a file with a Jinja template, use an instruction-tuned base, "
        "or deliver lines with source and references"
    )
    return BaseModelError("a base with a chat template for conversations", "none", fix)


def _has_template(tokenizer_config: Path) -> bool:
    try:
        return bool(json.loads(tokenizer_config.read_bytes()).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def compute_chat_digest(folder: Path | None, config: BaseConfig) -> str:
    """Return the hex sha256 of what conversations are rendered with beside the tokenizer's own files; "" if nothing.

    `folder` is the base's (None: of the settings alone). A template in tokenizer_config.json is part of the tokenizer's
    digest. The same template has the same digest in the base's folder and in `base.chat_template`.

    Raises:
        BaseModelError: the named template cannot be read.
    """
    named = read_named_template(config)
    parts: list[tuple[str, bytes]] = []
    if named is not None:
        parts = [(OWN_TEMPLATE_FILE, named.encode())]
    elif folder is not None:
        files = [folder / OWN_TEMPLATE_FILE, folder / _OTHER_OWN_FILE, *sorted((folder / _OWN_FOLDER).glob("*.jinja"))]
        parts = [(file.name, file.read_bytes()) for file in files if file.is_file()]
    if config.chat_template_kwargs:
        values = json.dumps(config.chat_template_kwargs, sort_keys=True, ensure_ascii=True)
        parts.append(("chat_template_kwargs", values.encode()))
    if not parts:
        return ""
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
