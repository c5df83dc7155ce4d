"""The fingerprint: one digest of everything that determines a trained prefix. Pure; knows no file."""

import hashlib
import json
from typing import Any

from components.config import TrainConfig

_NEWER_FIELD_DEFAULTS = {"patience": None, "turns": "all", "initial_state": False, "first_slot": "free"}
"""Fields that were added after the artifact schema, and the value that changes nothing: with it a field is left out,
so that older prefixes keep their fingerprint."""


def compute_fingerprint(
    *,
    data_digest: str,
    train: TrainConfig,
    base_digest: str,
    artifact_schema: int,
    shared: str | None = None,
    chat_template: str = "",
) -> str:
    """Return the hex SHA-256 over canonical JSON of tenant data, effective train config, base and artifact schema.

    `shared` is the fingerprint of the shared prefix; None if the tenant has none. `chat_template` is the digest of the
    template that conversations are rendered with; "" for pairs, and for a template among the tokenizer's own files.

    Two runs with the same fingerprint train the same prefix, so the second can be skipped.
    """
    values: dict[str, Any] = {
        "artifact_schema": artifact_schema,
        "base": base_digest,
        "data": data_digest,
        "train": {
            name: value
            for name, value in train.model_dump(mode="json").items()
            if name not in _NEWER_FIELD_DEFAULTS or value != _NEWER_FIELD_DEFAULTS[name]
        },
    }
    if shared is not None:
        values["shared"] = shared
    if chat_template:
        values["chat_template"] = chat_template
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
