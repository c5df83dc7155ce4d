"""The base class of every section of params.yaml: frozen and strict; unknown keys are errors."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: unknown keys, values of another type, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
