"""Keys that params.yaml had in earlier releases. A file that still sets one loads, with a warning. Knows no section."""

import logging
from collections.abc import Mapping
from typing import Any

REMOVED_KEYS: Mapping[str, frozenset[str]] = {
    "engine": frozenset(
        {"packing", "fused_loss", "cut_last_block", "fused_attention", "shared_beams", "fast_candidates"}
    ),
}
"""Section -> keys that are no longer settings."""

_LOGGER = "prefixfleet"


def drop_removed_keys(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the sections without the keys in `REMOVED_KEYS`; log a warning with `where` for each key dropped."""
    return {name: _drop_from_section(name, section, where) for name, section in values.items()}


def _drop_from_section(name: str, section: Any, where: str) -> Any:
    removed = REMOVED_KEYS.get(name)
    if not removed or not isinstance(section, dict):
        return section
    for key in section:
        if key in removed:
            logging.getLogger(_LOGGER).warning(
                "%s: %s.%s is no longer a setting and is ignored; remove it", where, name, key
            )
    return {key: value for key, value in section.items() if key not in removed}
