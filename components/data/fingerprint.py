"""The fingerprint: one name for everything that decides what a trained prefix is. Pure; knows no file."""

import hashlib
import json
from typing import Any

from components.config import TrainConfig

_NEWER_FIELD_DEFAULTS = {"patience": None}
"""Fields that are younger than the artifact schema, with the value at which a prefix is trained as before them."""


def compute_fingerprint(
    *, data_digest: str, train: TrainConfig, base_digest: str, artifact_schema: int, shared: str | None = None
) -> str:
    """Hex SHA-256 over canonical JSON of tenant data, effective train config, base and artifact schema.

    `shared` is the fingerprint of the prefix that this one stands on.

    Two runs with one fingerprint train the same prefix, so the second need not be done.
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
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
