"""The plugin's settings: `kv_connector_extra_config` of vLLM's `--kv-transfer-config`. An unknown key is an error."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefixfleet_vllm.errors import PluginError

HexDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Settings(BaseModel):
    """How artifacts are found, checked and kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stores: list[str] = Field(
        min_length=1,
        description="folders (/path, file://, s3://bucket/folder) that may hold artifacts; in the first, artifact "
        "<sha256> is the folder of that name",
    )
    resident_mb: float = Field(default=1024, gt=0, description="memory of a worker for loaded artifacts, in MiB")
    load_threads: int = Field(default=4, ge=1, le=64, description="artifacts that a worker reads at the same time")
    serve_base: bool = Field(default=False, description="answer requests without a prefix with the base alone")
    base_digest: HexDigest | None = Field(
        default=None, description="digest of the base; null: computed from the model's local folder at the start"
    )
    interchangeable: list[HexDigest] = Field(
        default_factory=list, description="digests of other bases whose artifacts are taken (base.interchangeable)"
    )
    untested_vllm: Literal["warn", "refuse"] = Field(
        default="warn", description="what a release of vLLM gets that the plugin was not tested with"
    )

    @property
    def resident_bytes(self) -> int:
        """`resident_mb` in bytes."""
        return int(self.resident_mb * 2**20)


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Return the settings.

    Raises:
        PluginError: a key is unknown or missing, or a value is impossible; the message names the first one.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as problems:
        first = problems.errors()[0]
        key = ".".join(map(str, first["loc"]))
        got = f"no {key}" if first["type"] == "missing" else f"{key} = {first['input']!r}"
        fix = f"correct kv_connector_extra_config (keys: {', '.join(Settings.model_fields)})"
        raise PluginError("setup", f"valid settings ({first['msg']})", got, fix) from None
