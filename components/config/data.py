"""The section `data`: where drops arrive, and what their lines may be."""

from pydantic import Field

from components.config.section import Section, Share


class DataConfig(Section):
    """Where drops arrive and the limits of their lines."""

    drops: str = Field(default="drops", description="folder for new drops: <drops>/<tenant>/<split>.jsonl")
    max_source_chars: int = Field(default=20_000, gt=0, description="most characters of a source")
    max_reference_chars: int = Field(default=4_000, gt=0, description="most characters of a reference")
    max_references: int = Field(default=64, gt=0, description="most references of one example")
    max_rejects: Share = Field(default=0.05, description="share of a drop's lines that may be rejected")
    max_overlap: Share = Field(
        default=0.1, description="share of a tenant's validation or test examples whose source may also be in train"
    )
    max_unknown: Share = Field(
        default=0.01, description="share of a split's tokens that the base's tokenizer may not know (1: no limit)"
    )
    max_corrections: Share = Field(
        default=0.2, description="share of a tenant's training examples that callers' corrections may be; others wait"
    )
    push: bool = Field(default=True, description="push new dataset versions to the DVC remote")
