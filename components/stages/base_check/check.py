"""Check a base before any tenant is trained: load it, and collect what is known of it.

Loading refuses what cannot work. Knows the parts that answer; does not know how the answers are shown.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from components.config import PARAMS_FILE, BaseConfig, Params, load_workspace_params
from components.config.problems import to_config_error
from components.model.base.layer_facts import LayerFacts, describe_attention, describe_layers
from components.model.base.load import Base, load_base
from components.model.base.weight_bytes import count_weight_bytes
from components.stages.base_check.support import Support, find_support
from components.stages.base_check.tokenizer_facts import TokenizerFacts, describe_tokenizer
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class BaseCheck:
    """What is known of a base that can be used."""

    base: Base
    config_class: str
    model_class: str
    text_model_of: str
    """The class of the whole model, if the base is the text model of a multimodal one; else ""."""
    weight_bytes: int
    layers: list[LayerFacts]
    attention: str
    slot_values: int
    """Values of one slot, keys and values, in all layers and sites."""
    support: Support
    tokenizer: TokenizerFacts

    @property
    def slot_file_bytes(self) -> int:
        """Bytes of one slot in an artifact, which is float32."""
        return 4 * self.slot_values

    @property
    def slot_device_bytes(self) -> int:
        """Bytes of one slot in the base's dtype."""
        return int(self.base.model.dtype.itemsize) * self.slot_values


def read_params(root: Path) -> Params:
    """Return the parameters of a workspace; the defaults if `root` is none. Raises ConfigError."""
    if (root / PARAMS_FILE).exists():
        return load_workspace_params(root)
    return Params(base=BaseConfig(path="."))


def choose_base(root: Path, path: str | None, changes: dict[str, str | None]) -> BaseConfig:
    """Return the config of the base to check: a folder or a hub id, or without `path` that of the workspace.

    The values of the workspace's section `base` hold for its own base only. `changes` with a value win.

    Raises:
        WorkspaceError: there is neither a path nor a workspace.
        ConfigError: params.yaml is not valid, or a change is not.
    """
    own = Workspace(root).base_config if path is None or (root / PARAMS_FILE).exists() else None
    if path is not None and not Path(path).is_dir() and (root / path).is_dir():
        path = str(root / path)
    if path is not None and Path(path).is_dir():
        path = str(Path(path).resolve())
    same = own is not None and (path is None or path == own.path)
    values = own.model_dump() if own is not None and same else {"path": path}
    values |= {key: value for key, value in changes.items() if value is not None}
    try:
        return BaseConfig.model_validate(values)
    except ValidationError as problems:
        raise to_config_error(problems, BaseConfig, "the call") from None


def check_base(config: BaseConfig) -> BaseCheck:
    """Load a base and describe it.

    Raises:
        BaseModelError: it cannot be used; as `load_base`.
    """
    base = load_base(config)
    return BaseCheck(
        base=base,
        config_class=type(base.model.config).__name__,
        model_class=type(base.model).__name__,
        text_model_of=base.text_model_of,
        weight_bytes=count_weight_bytes(base.model),
        layers=describe_layers(base.model),
        attention=describe_attention(base.model),
        slot_values=sum(site.size for site in base.shape.sites.values()),
        support=find_support(base),
        tokenizer=describe_tokenizer(base, has_named_template=config.chat_template is not None),
    )
