"""The state before the day: every tenant has data, a champion in MLflow with its files in S3, and is up to date.

Four tenants, one for each word, go through the real stages: trained, evaluated, judged, registered, rolled out. Every
other tenant gets a copy of what the tenant with its word has, with its own data, digests and identifiers
(`harness/fleet_states.py`). The plan, MLflow's client, the server and the night check those digests, and
`check_first_state` lets the first two do it before the day begins.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from harness.checkouts import PROJECT, make_checkout
from harness.fleet_services import FleetServices
from harness.fleet_states import make_fleet_state
from harness.pending_objects import PendingObjects

from components.registry.mlflow.store_places import DESTINATION_VARIABLE, join_served
from components.stages.plan import plan
from components.stages.workspace import Workspace
from compressed_day.texts import FIRST_SIZES, WORDS, get_word, write_examples


def make_first_state(root: Path, tenants: Sequence[str], params: Mapping[str, Any], services: FleetServices) -> None:
    """Make the workspace and the state."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copytree(PROJECT / "base", root / "base")
    for tenant in tenants:
        write_examples(root / "data" / tenant, get_word(tenant), FIRST_SIZES)
    (root / "params.yaml").write_text(yaml.safe_dump(dict(params)))
    make_checkout(root, "s3://dvc/day", services.environment["AWS_ENDPOINT_URL_S3"])
    store, pending = os.environ[DESTINATION_VARIABLE], PendingObjects(root.parent / "pending.zip")

    def store_files(files: Iterable[tuple[str, bytes]]) -> None:
        pending.add((join_served(uri, store).removeprefix("s3://"), content) for uri, content in files)
        pending.send(services.environment)

    originals = {get_word(tenant): tenant for tenant in tenants[: len(WORDS)]}
    make_fleet_state(
        Workspace(root),
        tenants,
        len(WORDS),
        services.mlflow_database,
        store_files,
        lambda tenant: originals[get_word(tenant)],
    )


def check_first_state(workspace: Workspace, tenants: Sequence[str]) -> None:
    """End the benchmark if a tenant is not up to date, or has no champion."""
    stale = list(plan(workspace, tenants).reasons)
    missing = set(tenants) - set(workspace.registry.find_champions())
    if stale or missing:
        raise SystemExit(
            f"the first state is wrong: to be trained {stale[:3]}, without a champion {sorted(missing)[:3]}"
        )
