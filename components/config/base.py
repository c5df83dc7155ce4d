"""The sections `base` (the frozen model) and `next_base` (the model that the fleet moves to)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from components.config.quantizers import Quantizer
from components.config.section import Section

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BaseConfig(Section):
    """The frozen model."""

    path: str = Field(description="folder of a transformers model with its tokenizer, or a model id on the hub")
    revision: str | None = Field(default=None, description="hub revision; null for a folder")
    dtype: Literal["float32", "bfloat16", "fastest"] = Field(
        default="float32",
        description="fastest: bfloat16 if a short measurement shows it clearly faster on this machine",
    )
    device_map: dict[str, int | str] | Literal["auto", "balanced", "sequential"] | None = Field(
        default=None,
        description="how layers are divided among the GPUs of one process, as accelerate takes it; null: one device",
    )
    quantize: Quantizer | None = Field(
        default=None,
        description="how linear layers are quantised while the folder is loaded; null: as the folder has them, which "
        "says in its config.json whether it is quantised already",
    )
    interchangeable: list[_Digest] = Field(
        default_factory=list,
        description="digests of other bases (`files_digest` and `digest` in base.json) whose prefixes this base takes, "
        "such as the same weights before they were quantised; the quality of these prefixes is not measured again",
    )
    chat_template: str | None = Field(
        default=None,
        description="file with a Jinja template for conversations, or the template itself; null: the tokenizer's own",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="values of the template's own variables, such as enable_thinking: false"
    )

    @property
    def has_inline_template(self) -> bool:
        """Whether `chat_template` is a template and not a file."""
        return self.chat_template is not None and ("{{" in self.chat_template or "{%" in self.chat_template)


class NextBaseConfig(BaseConfig):
    """The model that tenants move to, in waves; until a tenant has moved, `base` answers for it."""

    train: dict[str, Any] = Field(
        default_factory=dict, description="values of the section train on this base; those of a tenant win over them"
    )
    tenants_per_wave: int = Field(default=100, gt=0, description="tenants that are trained in one wave")
    minutes_per_wave: float | None = Field(
        default=None, gt=0, description="after these minutes a wave trains no further tenants; null: no limit"
    )
    order: Literal["traffic", "id"] = Field(
        default="traffic", description="traffic: tenants with most requests in the last seven days first"
    )
