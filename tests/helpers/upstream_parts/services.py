"""Non-public parts of MLflow, DVC, Prefect, Optuna and Alembic."""

import inspect

from components.registry.mlflow import fetching, tables
from flows import local_server
from upstream_parts.checks import Part, has, has_columns, has_mlmodel_fields, list_columns, load, says, takes

MLFLOW = (
    Part(
        "mlflow",
        "ArtifactRepository._download_file, and the error code of a missing file in a folder",
        "components/registry/mlflow/fetching.py",
        "the public download lists a version's folder three times first",
        lambda: (
            takes(
                "mlflow.store.artifact.artifact_repo:ArtifactRepository._download_file",
                "remote_file_path",
                "local_path",
            )()
            and says(
                "mlflow.store.artifact.local_artifact_repo:LocalArtifactRepository._download_file", fetching._NO_FILE
            )()
        ),
        ("_download_file",),
    ),
    Part(
        "mlflow",
        "store.model_registry.dbmodels: alias, version and tag tables",
        "components/registry/mlflow/tables.py",
        "one query for the aliases of a fleet; the public search takes seconds for a thousand models",
        lambda: all(
            has_columns(f"mlflow.store.model_registry.dbmodels.models:{table}", *columns)()
            for table, columns in {
                "SqlRegisteredModelAlias": ("workspace", "name", "alias", "version"),
                "SqlModelVersion": ("workspace", "name", "version", "run_id", "current_stage"),
                "SqlModelVersionTag": ("workspace", "name", "version", "key", "value"),
            }.items()
        ),
    ),
    Part(
        "mlflow",
        "the newest Alembic revision of its database, the name of its default workspace and of the deleted stage",
        "components/registry/mlflow/tables.py",
        "commands that only read do not import MLflow, which takes seconds",
        lambda: (
            load("mlflow.store.db.utils:_get_latest_schema_revision")() == tables.REVISION
            and load("mlflow.utils.workspace_utils:DEFAULT_WORKSPACE_NAME") == tables.WORKSPACE
            and load("mlflow.entities.model_registry.model_version_stages:STAGE_DELETED_INTERNAL")
            == tables.DELETED_STAGE
        ),
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
        has_columns("mlflow.store.tracking.dbmodels.models:SqlDataset", "name", "experiment_id"),
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
        "MlflowClient._get_registry_client, and aliases and tags without a look at the model",
        "components/registry/mlflow/direct_calls.py",
        "the public calls ask for the model before each alias and tag, which doubles a night's calls",
        lambda: (
            takes("mlflow:MlflowClient._get_registry_client", "self")()
            and all(
                takes(f"mlflow.tracking._model_registry.client:ModelRegistryClient.{name}", "name", "version")()
                for name in ("set_registered_model_alias", "set_model_version_tag")
            )
        ),
        ("_get_registry_client",),
    ),
    Part(
        "mlflow",
        "message: already taken by a prompt",
        "components/registry/mlflow/registration.py",
        "tells a name that a prompt has from a registered model; both have one error code",
        says("mlflow.prompt.registry_utils:handle_resource_already_exist_error", "already taken by a"),
    ),
    Part(
        "mlflow",
        "artifact_repository_registry.get_artifact_repository(tracking_uri=): log_artifacts",
        "components/registry/mlflow/direct_calls.py",
        "the public call asks for the run before it sends its files",
        takes("mlflow.store.artifact.artifact_repo:ArtifactRepository.log_artifacts", "local_dir"),
    ),
    Part(
        "mlflow",
        "fields of the MLmodel file",
        "components/registry/mlflow/packaging.py",
        "further tenants get a copy of one saved model, in milliseconds instead of seconds",
        has_mlmodel_fields,
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
        "repo.Repo: root_dir, lock, fs, dvcignore.walk, cache.local.cache_types",
        "components/data/dvc_changes.py",
        "makes a version of a fleet from the changed tenants alone; `dvc add` and `dvc push` look at every file",
        lambda: (
            says("dvc.repo:Repo.__init__", "self.root_dir", "self.lock", "self.fs")()
            and takes("dvc.ignore:DvcIgnoreFilter.walk", "fs", "path")()
            and says("dvc_data.hashfile.db:HashFileDB.__init__", "self.cache_types")()
        ),
    ),
    Part(
        "dvc-objects",
        "ObjectDB: add, exists; Tree: from_list, digest",
        "components/data/dvc_changes.py",
        "writes the objects of changed files and the new listing",
        lambda: (
            takes("dvc_objects.db:ObjectDB.add", "path", "fs", "oid", "check_exists")()
            and has("dvc_objects.db:ObjectDB", "exists")()
            and has("dvc_data.hashfile.tree:Tree", "from_list", "digest")()
        ),
    ),
    Part(
        "dvc",
        "output.build, the one function by which outputs and dependencies are read",
        "components/data/dvc_commit.py",
        "`dvc commit` reads every folder about three times; this command remembers what it has read",
        lambda: (
            takes("dvc.output:build", "odb", "path", "fs", "name", "dry_run")()
            and says("dvc.output:Output._build", "return build(*args, **kwargs)")()
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
            set(columns) <= {column.key for column in list_columns(table)}
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
        "message: Failed to reach API",
        "flows/run_local.py",
        "tells a server that does not answer from a fault of the flow; both are RuntimeError",
        says("prefect.client.orchestration", "Failed to reach API"),
    ),
    Part(
        "prefect",
        "server.api.server.create_app, and the environment of its temporary server",
        "flows/local_server.py",
        "Prefect starts its own temporary server in this process's group, where Ctrl-C and SIGTERM end it too early",
        lambda: (
            has("prefect.server.api.server", "create_app")()
            and says(
                "prefect.server.api.server:SubprocessASGIServer",
                "prefect.server.api.server:create_app",
                *(f'"{name}": "{value}"' for name, value in local_server.SERVER_ENVIRONMENT.items()),
            )()
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
