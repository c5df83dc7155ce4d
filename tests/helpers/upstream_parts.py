"""The non-public parts of other libraries that the code uses: the one list of them, with a check for each.

A part is a private name, an internal module, a table, the text of a message or the layout of a file: whatever the
library may change without notice. tests/upstream/test_parts.py runs the checks. After an upgrade a failed check names
the part that moved, the module that uses it and the reason, so that the use can be adapted before anything else fails.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """One non-public part of a library."""

    library: str
    """Name of the distribution."""
    name: str
    """The part, as an engineer would search for it in the library's source."""
    used_by: str
    """Path of the module that uses it."""
    purpose: str
    """Why no public way was taken."""
    check: Callable[[], object]
    """Raises, or returns a false value, where the part has moved."""
    private_names: tuple[str, ...] = ()
    """Underscored attributes and imports in our code that this part accounts for."""


def load(path: str) -> Any:
    """Return the object at `package.module:attribute.attribute`."""
    module, _, attributes = path.partition(":")
    found: Any = importlib.import_module(module)
    for name in attributes.split(".") if attributes else ():
        found = getattr(found, name)
    return found


def has(path: str, *attributes: str) -> Callable[[], bool]:
    """Check that an object exists and has the attributes."""
    return lambda: all(hasattr(load(path), name) for name in attributes)


def says(path: str, *texts: str) -> Callable[[], bool]:
    """Check that the source of an object (a module, a class, a function) still contains texts."""
    return lambda: all(text in inspect.getsource(load(path)) for text in texts)


def takes(path: str, *parameters: str) -> Callable[[], bool]:
    """Check that a callable still has parameters of these names."""
    return lambda: set(parameters) <= set(inspect.signature(load(path)).parameters)


def _reads_mlmodel() -> bool:
    model = load("mlflow.models:Model")().to_dict()
    return {"model_uuid", "utc_time_created", "flavors"} <= set(model)


def _has_columns(path: str, *columns: str) -> Callable[[], bool]:
    return lambda: set(columns) <= {column.name for column in load(path).__table__.columns}


MLFLOW = (
    Part(
        "mlflow",
        "store.model_registry.dbmodels: alias, version and tag tables",
        "components/registry/mlflow/alias_table.py",
        "one query for the aliases of a fleet; the public search takes seconds for a thousand models",
        lambda: all(
            _has_columns(f"mlflow.store.model_registry.dbmodels.models:{table}", *columns)()
            for table, columns in {
                "SqlRegisteredModelAlias": ("workspace", "name", "alias", "version"),
                "SqlModelVersion": ("workspace", "name", "version", "run_id"),
                "SqlModelVersionTag": ("workspace", "name", "version", "key", "value"),
            }.items()
        ),
    ),
    Part(
        "mlflow",
        "MlflowClient._get_registry_client().store",
        "components/registry/mlflow/alias_table.py",
        "the database session that belongs to a client",
        has("mlflow:MlflowClient", "_get_registry_client"),
        ("_get_registry_client",),
    ),
    Part(
        "mlflow",
        "SqlAlchemyStore.ManagedSessionMaker(read_only=) and _get_active_workspace of the model registry",
        "components/registry/mlflow/alias_table.py",
        "the database session that belongs to a client",
        lambda: (
            says("mlflow.store.db.utils:_get_managed_session_maker", "read_only")()
            and says("mlflow.store.model_registry.sqlalchemy_store:SqlAlchemyStore", "self.ManagedSessionMaker")()
            and has("mlflow.store.model_registry.sqlalchemy_store:SqlAlchemyStore", "_get_active_workspace")()
        ),
        ("_get_active_workspace",),
    ),
    Part(
        "mlflow",
        "MlflowClient._tracking_client.store, its engine and _hard_delete_run",
        "components/registry/mlflow/removal.py",
        "deletes runs for good, as `mlflow gc` does; the public call only hides them",
        lambda: (
            says("mlflow:MlflowClient.__init__", "self._tracking_client")()
            and has("mlflow.tracking._tracking_service.client:TrackingServiceClient", "store")()
            and has("mlflow.store.tracking.sqlalchemy_store:SqlAlchemyStore", "_hard_delete_run")()
            and says("mlflow.store.tracking.sqlalchemy_store:SqlAlchemyStore", "self.engine")()
        ),
        ("_tracking_client", "_hard_delete_run"),
    ),
    Part(
        "mlflow",
        "store.tracking.dbmodels: datasets table",
        "components/registry/mlflow/removal.py",
        "a run's deletion leaves its dataset entries",
        _has_columns("mlflow.store.tracking.dbmodels.models:SqlDataset", "name", "experiment_id"),
    ),
    Part(
        "mlflow",
        "artifact_repository_registry.get_artifact_repository(tracking_uri=)",
        "components/registry/mlflow/fetching.py",
        "tells a store that is down from a version whose files are gone",
        takes("mlflow.store.artifact.artifact_repository_registry:get_artifact_repository", "tracking_uri"),
    ),
    Part(
        "mlflow",
        "fields of the MLmodel file",
        "components/registry/mlflow/packaging.py",
        "further tenants get a copy of one saved model, in milliseconds instead of seconds",
        _reads_mlmodel,
    ),
    Part(
        "mlflow",
        "webhooks.delivery: signature v1 over id, time and payload",
        "components/serving/http/webhook.py",
        "checks that a webhook is MLflow's; no public verifier exists",
        takes("mlflow.webhooks.delivery:_generate_hmac_signature", "secret", "delivery_id", "timestamp", "payload"),
    ),
)

DVC = (
    Part(
        "dvc",
        "repo.Repo: config, cloud.get_remote_odb, cache.local",
        "components/data/dvc_objects.py",
        "finds and deletes a tenant's objects in the cache and in every remote",
        lambda: (
            has("dvc.data_cloud:DataCloud", "get_remote_odb")()
            and says("dvc.cachemgr", "self.local", "local")()
            and says("dvc.repo:Repo.__init__", "self.config", "self.cloud", "self.cache")()
        ),
    ),
    Part(
        "dvc-objects",
        "ObjectDB: all, delete, fs, oid_to_path",
        "components/data/dvc_objects.py",
        "reads folder listings and deletes objects",
        lambda: (
            has("dvc_objects.db:ObjectDB", "all", "delete", "oid_to_path")()
            and says("dvc_objects.db:ObjectDB.__init__", "self.fs")()
        ),
    ),
    Part(
        "dvc",
        "message: no remote specified",
        "components/data/dvc.py",
        "DVC's exit code does not tell a missing remote from one that fails",
        says("dvc.data_cloud", "no remote specified"),
    ),
    Part(
        "dvc",
        "message: Having any troubles?",
        "components/data/dvc.py",
        "cuts DVC's footer off its error",
        says("dvc.cli", "Having any troubles?"),
    ),
)

PREFECT = (
    Part(
        "prefect",
        "file name prefect.db in PREFECT_HOME",
        "flows/forget.py",
        "the workspace's own server keeps its events only there",
        says("prefect.settings.models._defaults", "{settings.home}/prefect.db"),
    ),
    Part(
        "prefect",
        "tables log, events and event_resources",
        "flows/forget.py",
        "no public call deletes events or lists log lines by their text",
        lambda: all(
            set(columns) <= {column.key for column in inspect_table(table)}
            for table, columns in {
                "Log": ("flow_run_id", "task_run_id", "message"),
                "Event": ("id", "resource", "related", "payload"),
                "EventResource": ("event_id",),
            }.items()
        ),
    ),
    Part(
        "prefect",
        "REST paths of the filters and deletions",
        "flows/forget.py",
        "the client has no typed call for all of them",
        lambda: all(
            text in inspect.getsource(load(f"prefect.server.api.{module}"))
            for module, text in {
                "flow_runs": '"/filter"',
                "task_runs": '"/filter"',
                "logs": '"/filter"',
                "artifacts": '"/filter"',
            }.items()
        ),
    ),
    Part(
        "prefect",
        "messages: ephemeral Prefect API server; Failed to reach API",
        "flows/run_local.py",
        "tells a server that does not start from a fault of the flow; both are RuntimeError",
        lambda: (
            says("prefect.server.api.server", "ephemeral Prefect API server")()
            and says("prefect.client.orchestration", "Failed to reach API")()
        ),
    ),
    Part(
        "prefect",
        "client.orchestration.SyncPrefectClient.request(path_params=)",
        "flows/forget.py",
        "sends requests that the client has no method for",
        takes("prefect.client.orchestration:SyncPrefectClient.request", "method", "path", "path_params"),
    ),
)

OPTUNA = (
    Part(
        "optuna",
        "Study._storage.get_trial(trial_id)",
        "components/stages/tuning/study.py",
        "reads the intermediate values of a running trial, so that no step is reported twice",
        lambda: (
            says("optuna.study:Study.__init__", "self._storage")() and has("optuna.storages:BaseStorage", "get_trial")()
        ),
        ("_storage",),
    ),
    Part(
        "optuna",
        "FrozenTrial._trial_id and optuna.Trial(study, trial_id)",
        "components/stages/tuning/study.py",
        "goes on with a trial that a killed process left unfinished",
        lambda: (
            takes("optuna:Trial", "study", "trial_id")()
            and says("optuna.trial:FrozenTrial.__init__", "self._trial_id")()
        ),
        ("_trial_id",),
    ),
)

MODELS = (
    Part(
        "transformers",
        "config._attn_implementation and PreTrainedModel._can_set_attn_implementation",
        "components/model/base/attention_sites.py",
        "switches a model's attention over and back",
        lambda: (
            has("transformers:PreTrainedModel", "_can_set_attn_implementation")()
            and isinstance(
                inspect.getattr_static(load("transformers:PretrainedConfig"), "_attn_implementation"), property
            )
        ),
        ("_attn_implementation", "_can_set_attn_implementation"),
    ),
    Part(
        "transformers",
        "integrations.sdpa_attention.sdpa_attention_forward and masking_utils.sdpa_mask",
        "components/model/base/attention_interface.py",
        "the attention that a registered function computes after it has put the prefix in",
        lambda: (
            callable(load("transformers.integrations.sdpa_attention:sdpa_attention_forward"))
            and takes("transformers.masking_utils:sdpa_mask", "allow_is_causal_skip", "allow_is_bidirectional_skip")()
        ),
    ),
    Part(
        "transformers",
        "cache_utils.DynamicLayer",
        "components/model/decoding/beam_tree.py",
        "cache layers of our own, with beams that share their columns",
        has("transformers.cache_utils:DynamicLayer", "update", "reorder_cache", "batch_select_indices"),
    ),
    Part(
        "transformers",
        "convert_slow_tokenizer.bytes_to_unicode",
        "components/model/text/banned.py",
        "which bytes a token of a byte-level vocabulary adds",
        lambda: len(load("transformers.convert_slow_tokenizer:bytes_to_unicode")()) == 256,
    ),
    Part(
        "peft",
        "tuners.lora.LoraModel, target module mapping, check_target_module_exists",
        "components/model/weights/lora.py",
        "LoRA layers of the library without its wrapper around the model",
        lambda: (
            callable(load("peft.tuners.lora:LoraModel"))
            and bool(load("peft.utils:TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING"))
            and callable(load("peft.tuners.tuners_utils:check_target_module_exists"))
        ),
    ),
    Part(
        "torch",
        "Module._parameters and Module._modules",
        "components/model/weights/replaced.py",
        "puts trained tensors in the place of parameters for the time of a block",
        lambda: {"_parameters", "_modules"} <= set(vars(load("torch.nn:Module")())),
        ("_parameters", "_modules"),
    ),
    Part(
        "torch",
        "_softmax_backward_data",
        "components/model/packing/attention.py",
        "the backward of softmax without keeping its input",
        has("torch", "_softmax_backward_data"),
        ("_softmax_backward_data",),
    ),
    Part(
        "accelerate",
        "PartialState._reset_state",
        "components/training/distributed/worker.py",
        "a process may train by several processes more than once",
        has("accelerate:PartialState", "_reset_state"),
        ("_reset_state",),
    ),
)

OTHERS = (
    Part(
        "sacrebleu",
        "metrics.lib_ter: _shift, _MAX_SHIFT_CANDIDATES, BeamEditDistance",
        "components/evaluation/ter.py",
        "the same search for shifts with less arithmetic under it",
        has("sacrebleu.metrics.lib_ter", "_shift", "_MAX_SHIFT_CANDIDATES", "BeamEditDistance"),
        ("_shift", "_MAX_SHIFT_CANDIDATES"),
    ),
    Part(
        "sacrebleu",
        "Metric._extract_corpus_statistics",
        "components/evaluation/metrics.py",
        "statistics of single sentences, for bootstrap intervals",
        has("sacrebleu.metrics.base:Metric", "_extract_corpus_statistics"),
        ("_extract_corpus_statistics",),
    ),
    Part(
        "rouge-score",
        "tokenizers.DefaultTokenizer.tokenize",
        "components/evaluation/metrics.py",
        "remembers the tokens of references that are scored again and again",
        has("rouge_score.tokenizers:DefaultTokenizer", "tokenize"),
    ),
    Part(
        "typer",
        "core.TyperGroup.invoke",
        "cli/main.py",
        "turns errors of every command into a message and an exit code",
        has("typer.core:TyperGroup", "invoke"),
    ),
    Part(
        "uvicorn",
        "Server.handle_exit, on_tick and should_exit",
        "components/serving/http/server.py",
        "answers requests in flight before the server ends",
        lambda: has("uvicorn:Server", "handle_exit", "on_tick")() and says("uvicorn:Server.__init__", "should_exit")(),
    ),
    Part(
        "alembic",
        "MigrationStep.upgrade_from_script, ScriptDirectory.revision_map and the option fn of MigrationContext",
        "components/storage/migrations.py",
        "runs revisions without env.py and without the proxies that are global to the process",
        lambda: (
            has("alembic.runtime.migration:MigrationStep", "upgrade_from_script")()
            and says("alembic.runtime.migration:MigrationContext.__init__", 'opts.get("fn")', "self._migrations_fn")()
            and says("alembic.script:ScriptDirectory.__init__", "self.revision_map = ")()
        ),
    ),
)


def inspect_table(name: str) -> Any:
    """The columns of a table of Prefect's server."""
    return load(f"prefect.server.database.orm_models:{name}").__table__.columns


PARTS = (*MLFLOW, *DVC, *PREFECT, *OPTUNA, *MODELS, *OTHERS)
