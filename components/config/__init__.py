"""Strict, frozen configuration, read from params.yaml and the tenants' override files. Knows no component.

A tenant's value is the first that is set: in overrides/<id>.yaml (section `train`, written by `prefixfleet tune`), in
`tenants.<id>` of params.yaml (sections `train`, `evaluate`, `gate`, `access`, `rollout`, `prices` and `budget`), in the
section itself.
An unknown key is an error that names the nearest known one.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from components.config.backup import BackupConfig as BackupConfig
from components.config.base import BaseConfig as BaseConfig
from components.config.base import NextBaseConfig as NextBaseConfig
from components.config.console import ConsoleConfig as ConsoleConfig
from components.config.data import DataConfig as DataConfig
from components.config.evaluate import EvaluateConfig as EvaluateConfig
from components.config.evaluate import GateConfig as GateConfig
from components.config.evaluate import Metric as Metric
from components.config.evaluate import NonInferiorityConfig as NonInferiorityConfig
from components.config.evaluate import Tokenizer as Tokenizer
from components.config.merging import merge_values
from components.config.metrics import MetricsConfig as MetricsConfig
from components.config.notify import NotifyConfig as NotifyConfig
from components.config.oidc import OidcConfig as OidcConfig
from components.config.overrides import read_override_files
from components.config.problems import format_value, make_unknown_key_error, to_config_error
from components.config.removed_keys import drop_removed_keys
from components.config.retention import RetentionConfig as RetentionConfig
from components.config.rollout import RolloutConfig
from components.config.section import Section as _Section
from components.config.serve import AccessConfig, ServeConfig
from components.config.tenant_id import TENANT_ID as TENANT_ID
from components.config.triggers import TriggersConfig as TriggersConfig
from components.config.usage import BudgetConfig as BudgetConfig
from components.config.usage import PricesConfig as PricesConfig
from components.config.workers import WorkersConfig as WorkersConfig
from components.config.yaml_file import read_sections
from components.errors import ConfigError

PARAMS_FILE = "params.yaml"

Method = Literal[
    "prefix",
    "infix",
    "embedding",
    "full",
    "top-k",
    "adapter",
    "lora",
    "in-context",
    "prefix+adapter",
    "prefix+lora",
]


class InitFile(_Section):
    """A document to start from."""

    file: str = Field(description="path of a text file in UTF-8, relative to the workspace")


class TrainConfig(_Section):
    """How one tenant's prefix (or another method's weights) is trained; every field is part of the fingerprint."""

    method: Method = Field(default="prefix", description="what is trained, docs/methods.md")
    prefix_length: int = Field(
        default=8, ge=0, le=1024, description="slots per layer; used by methods with a prefix, infix and embedding"
    )
    mlp_hidden: int = Field(default=0, ge=0, description="width of the reparametrisation MLP; 0: no MLP")
    initial_state: bool = Field(
        default=False, description="also train the states from which a hybrid base's recurrent layers start a row"
    )
    initialization: Literal["text", "random", "zero"] = Field(
        default="text",
        description="text: the keys and values of words; random: normal values; zero: no effect at the start",
    )
    init_text: str | InitFile | None = Field(
        default=None, description="words to start from, or {file: PATH}; null: the tenant's most frequent words"
    )
    first_slot: Literal["free", "bos"] = Field(
        default="free", description="bos: slot 0 has the base's keys and values of BOS and is not trained"
    )
    shared: str | None = Field(default=None, description="tenant whose prefix comes before this tenant's own")
    shared_training: Literal["frozen", "joint"] = Field(
        default="frozen", description="joint: continue training the slots of `shared`, together with this tenant's own"
    )
    warm_start: bool = Field(default=False, description="start a retraining from the champion's values")
    top_layers: int = Field(default=2, gt=0, description="method top-k: number of last blocks to train")
    adapter_size: int | None = Field(default=None, gt=0, description="width of an adapter; null: see adapter_share")
    adapter_share: float = Field(default=0.03, gt=0, le=1, description="adapter parameters / base parameters")
    lora_rank: int = Field(default=8, gt=0, description="method lora: rank of each pair of matrices")
    lora_alpha: float = Field(
        default=16.0, gt=0, description="method lora: its product is multiplied by lora_alpha / lora_rank"
    )
    lora_targets: list[str] | None = Field(default=None, description="module names; null: peft's default for the base")
    demonstrations: int = Field(default=4, gt=0, description="method in-context: examples per prompt")
    demonstration_choice: Literal["nearest", "random"] = Field(
        default="nearest", description="method in-context: by likeness to the source, or at random"
    )
    turns: Literal["all", "last"] = Field(
        default="all", description="the assistant's turns of a conversation whose tokens count in the loss"
    )
    loss: Literal["token-mean", "sequence-sum"] = Field(
        default="token-mean", description="mean over a batch's target tokens, or mean of its sequences' summed losses"
    )
    learning_rate: float = Field(default=2e-2, gt=0, description="of AdamW after warm-up; it falls linearly to 0")
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW")
    max_steps: int = Field(default=400, ge=0, description="optimizer steps")
    warmup_steps: int = Field(default=20, ge=0, description="steps in which the learning rate rises from 0")
    batch_size: int = Field(default=16, gt=0, description="examples per step")
    max_grad_norm: float = Field(default=1.0, gt=0, description="longer gradients are shortened to this norm")
    validate_every: int = Field(default=50, gt=0, description="steps between validations; the best step is kept")
    patience: int | None = Field(default=None, gt=0, description="stop after this many validations without improvement")
    max_source_tokens: int | None = Field(default=None, gt=0, description="cut longer sources; null: refuse them")
    gradient_checkpointing: bool = Field(default=False, description="less memory, more time, same result")
    seed: int = Field(default=0, description="of the start values and of the order of examples")

    @field_validator("init_text", mode="before")
    @classmethod
    def _check_init_text(cls, value: Any) -> Any:
        text = value["file"] if isinstance(value, dict) and set(value) == {"file"} else value
        is_text = isinstance(text, str) and bool(text.strip())
        if value is None or is_text or isinstance(value, InitFile):
            return value
        raise ValueError("a text that is not blank, {file: PATH} or null")


class EngineConfig(_Section):
    """Speed and memory. These fields change results only by rounding, so they are not part of a fingerprint."""

    train_tokens: int = Field(default=8192, gt=0, description="tokens of all tenants in one training pass")
    decode_rows: int = Field(default=64, gt=0, description="sequences of all tenants decoded together")
    memory_gb: float | None = Field(default=None, gt=0, description="memory for training; null: the free memory")
    processes: int = Field(default=1, gt=0, description="processes per shard, each on its own GPU")
    compile: bool = Field(
        default=False, description="compile activations for training; needs a C++ compiler, takes 10 s"
    )


class RegistryConfig(_Section):
    """Where MLflow is; the environment variable MLFLOW_TRACKING_URI overrides `tracking_uri`."""

    tracking_uri: str = Field(
        default="sqlite:///var/mlflow/mlflow.db",
        description="http:// or https:// of an MLflow server, or a database in the workspace",
    )
    experiment: str = Field(default="prefixfleet", description="name of the experiment that holds the runs")
    owner: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="name of a fleet that several checkouts share; null: this workspace's own id",
    )


class Params(_Section):
    """The whole of params.yaml. With override files, each tenant's values are merged into its entry in `tenants`."""

    base: BaseConfig
    next_base: NextBaseConfig | None = None
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    engine: EngineConfig = EngineConfig()
    workers: WorkersConfig | None = None
    triggers: TriggersConfig = TriggersConfig()
    registry: RegistryConfig = RegistryConfig()
    retention: RetentionConfig | None = None
    serve: ServeConfig = ServeConfig()
    console: ConsoleConfig = ConsoleConfig()
    metrics: MetricsConfig = MetricsConfig()
    notify: NotifyConfig = NotifyConfig()
    access: AccessConfig = AccessConfig()
    oidc: OidcConfig | None = None
    rollout: RolloutConfig = RolloutConfig()
    backup: BackupConfig = BackupConfig()
    prices: PricesConfig | None = None
    budget: BudgetConfig | None = None
    tenants: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="tenant -> sections train, evaluate, gate, access, rollout, prices and budget of its own",
    )

    def for_tenant(self, tenant: str) -> "Params":
        """Return the effective parameters of one tenant: the sections merged with `tenants.<tenant>`."""
        override = self.tenants.get(tenant)
        return self.override_with(override, where=f"tenants.{tenant}") if override else self

    def override_with(self, override: dict[str, Any], *, where: str) -> "Params":
        """Return these parameters merged with `override` (section -> key -> value).

        `where` names the override's origin in error messages.

        Raises:
            ConfigError: an unknown key or a wrong type.
        """
        return _parse(merge_values(self.model_dump(exclude={"tenants"}), override, Params), where=where)


_TENANT_SECTIONS = ("train", "evaluate", "gate", "access", "rollout", "prices", "budget")


def load_workspace_params(root: Path) -> Params:
    """Read and check a workspace's params.yaml, and merge the tenants' override files into it.

    Raises:
        ConfigError: as `load_params`; or a file in overrides/ has a wrong name, an unknown key or a wrong type.
    """
    params = load_params(root / PARAMS_FILE)
    tenants = dict(params.tenants)
    for path, values in read_override_files(root).items():
        tenant = path.stem
        params.for_tenant(tenant).override_with(values, where=str(path))
        tenants[tenant] = merge_values(params.tenants.get(tenant, {}), values, Params)
    return params.model_copy(update={"tenants": tenants})


def load_params(path: Path) -> Params:
    """Read and check params.yaml alone, without override files.

    Keys of earlier releases (`removed_keys`) are ignored, with a warning.

    Raises:
        ConfigError: the file is missing or is not YAML, or a section or an override has an unknown key, a duplicate key
            or a value of the wrong type.
    """
    values = drop_removed_keys(read_sections(path), str(path))
    params = _parse(values, where=str(path))
    for tenant, override in params.tenants.items():
        if not TENANT_ID.fullmatch(tenant):
            got = f"{path}: {format_value(tenant)} under tenants"
            raise ConfigError(
                "tenant ids that are DNS labels", got, "use a-z, 0-9 and inner '-', at most 63 characters"
            )
        for section in override:
            if section not in _TENANT_SECTIONS:
                raise make_unknown_key_error(section, _TENANT_SECTIONS, f"{path}: tenants.{tenant}")
        _check_money(params.for_tenant(tenant), params, f"{path}: tenants.{tenant}")
    _check_money(params, params, str(path))
    return params


def _check_money(own: Params, fleet: Params, where: str) -> None:
    if own.budget is not None and own.prices is None:
        fix = "add the section prices, or remove the budget"
        raise ConfigError("prices, which a budget needs", f"{where}: budget without prices", fix)
    if own.prices and fleet.prices and own.prices.currency != fleet.prices.currency:
        wanted, got = f"the currency {fleet.prices.currency} for all tenants", f"{where}: {own.prices.currency}"
        raise ConfigError(wanted, got, "remove prices.currency there, and give its prices in the fleet's currency")


def _parse(values: dict[str, Any], *, where: str) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as problems:
        raise to_config_error(problems, Params, where) from None
