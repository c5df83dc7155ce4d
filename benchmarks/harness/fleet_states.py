"""The state of a fleet whose prefixes all serve, in minutes for 10,000 tenants, to measure nights on top of it.

A few tenants pass through the real stages, with modelled training. The others get copies of what that leaves: results
in out/, rows in MLflow's tables, files in MLflow's store, rollout states and entries of the ledger, each with its own
data, digests and identifiers. Only their scores and predictions are those of the original, and the caches of tokens
in var/ are made when a tenant is trained.
"""

from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sql

from components.stages import dataset, evaluate, gate, register, train
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.workspace import Workspace
from harness.copied_tenants import copy_results
from harness.copied_versions import copy_ledger, copy_rows, list_files, read_original

ORIGINALS = 4
"""Tenants that are trained and registered really, by default."""


def make_fleet_state(
    workspace: Workspace,
    tenants: Sequence[str],
    originals: int,
    mlflow_database: str,
    store_files: Callable[[Iterable[tuple[str, bytes]]], None],
    choose_original: Callable[[str], str] | None = None,
) -> None:
    """Train, evaluate, judge and register the first tenants, copy the others, and record all in DVC.

    `mlflow_database`: URL of the database below MLflow. `store_files` gets URI and content of what the copies have in
    MLflow's store. `choose_original` returns the first tenant that a tenant is a copy of; None: they take turns.
    """
    real, others = tenants[:originals], tenants[originals:]
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(workspace, real))
    versions, failures = register.register(workspace, plan(workspace, real).collect_fingerprints())
    raise_on_failures(failures)
    if missing := {*real} - {*versions}:
        raise SystemExit(f"the gate rejected {sorted(missing)}: the first state needs all of {', '.join(real)}")
    raise_on_failures(register.roll_out(workspace, versions, [])[1])
    if others:
        turns = {tenant: real[number % len(real)] for number, tenant in enumerate(others, 1)}
        _copy_tenants(workspace, real, others, mlflow_database, store_files, choose_original or turns.__getitem__)
    dataset.gather_results(workspace)
    gate.gather_results(workspace)
    dataset.commit_to_dvc(workspace)


def _copy_tenants(
    workspace: Workspace,
    real: Sequence[str],
    others: Sequence[str],
    mlflow_database: str,
    store_files: Callable[[Iterable[tuple[str, bytes]]], None],
    choose_original: Callable[[str], str],
) -> None:
    copies = [
        copy_results(workspace, choose_original(item.tenant), item, number)
        for number, item in enumerate(plan(workspace, others).items, 1)
    ]
    workspace.save_digests()
    engine = sql.create_engine(mlflow_database)
    versions = {one: read_original(engine, one, workspace.registry.uri) for one in real}
    copies = [one.renew(versions[one.source].list_identifiers()) for one in copies]
    copy_rows(engine, versions, copies)
    engine.dispose()
    store_files(list_files(workspace, versions, copies))
    copy_ledger(workspace, copies)
