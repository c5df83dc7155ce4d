"""Write a fleet's models, versions and aliases directly into MLflow's tables: 10,000 tenants in seconds.

Every tenant has version 1 as champion; a tenant on trial also has version 2 as challenger. The versions have no run and
no files. The function checks that MLflow's client reads the versions back.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from components.config import RegistryConfig
from components.registry.mlflow.quiet import quiet_mlflow
from components.registry.mlflow.versions import to_model_name
from components.registry.registry import Registry
from components.storage.urls import resolve_uri


def write_mlflow_tables(
    uri: str,
    folder: Path,
    tenants: Sequence[str],
    on_trial: Sequence[str] = (),
    tags: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> None:
    """Create MLflow's tables in a database, if it has none, and fill them; `tags` are by tenant, of the champions."""
    import sqlalchemy as sql
    from mlflow.store.model_registry.dbmodels import models

    registry = Registry(RegistryConfig(tracking_uri=uri), folder)
    registry.find_champions()
    now_ms, home = int(time.time() * 1000), {"workspace": "default"}
    both = [(tenant, 1) for tenant in tenants] + [(tenant, 2) for tenant in on_trial]
    times = {"creation_time": now_ms, "last_updated_time": now_ms}
    rows = {
        models.SqlRegisteredModel: [{**home, **times, "name": to_model_name(tenant)} for tenant in tenants],
        models.SqlModelVersion: [
            {
                **home,
                **times,
                "name": to_model_name(tenant),
                "version": number,
                "current_stage": "None",
                "source": f"s3://nowhere/{tenant}/{number}",
                "status": "READY",
            }
            for tenant, number in both
        ],
        models.SqlModelVersionTag: [
            {**home, "name": to_model_name(tenant), "version": number, "key": key, "value": value}
            for tenant, number in both
            for key, value in {
                "sha256": f"{number:064d}",
                "verdict": "accepted",
                "tenant": tenant,
                **(tags.get(tenant, {}) if number == 1 else {}),
            }.items()
        ],
        models.SqlRegisteredModelAlias: [
            {**home, "name": to_model_name(tenant), "alias": ("champion", "challenger")[number - 1], "version": number}
            for tenant, number in both
        ],
    }
    engine = sql.create_engine(resolve_uri(uri, folder))
    with quiet_mlflow(), engine.begin() as connection:
        for model, values in rows.items():
            connection.execute(sql.insert(model), values)
    engine.dispose()
    versions = [registry.find_champion(tenants[-1]), *(registry.find_challenger(one) for one in on_trial[:1])]
    if [one and one.version for one in versions] != ["1", "2"][: len(versions)]:
        raise SystemExit(f"MLflow does not read the versions that were written, but {versions}")
