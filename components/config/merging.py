"""Merges a tenant's values into the sections of params.yaml. Knows pydantic models; does not know the sections."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from components.config.problems import find_section


def merge_values(
    values: Mapping[str, Any], override: Mapping[str, Any], section: type[BaseModel] | None
) -> dict[str, Any]:
    """Return `values` with the keys of `override`; mappings are merged, everything else (lists too) is replaced.

    `section` is the model that describes the keys. The empty mapping removes every entry of a mapping whose keys the
    user chooses (`gate.floors`); for a section it changes nothing.
    """
    merged = dict(values)
    for key, value in override.items():
        old = merged.get(key)
        field = section.model_fields.get(key) if section else None
        inner = find_section(field.annotation) if field else None
        if isinstance(old, dict) and isinstance(value, dict) and (value or inner):
            merged[key] = merge_values(old, value, inner)
        else:
            merged[key] = value
    return merged
