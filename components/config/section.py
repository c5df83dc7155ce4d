"""What every section of params.yaml is: frozen, strict, and without a place for keys that it does not know."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: unknown keys, other types, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
