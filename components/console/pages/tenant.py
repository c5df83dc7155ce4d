"""The pages of one tenant: what happened to it, its versions, its data."""

from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from components.config.console import ConsoleConfig
from components.console.fleet.reading import make_status_row
from components.console.fleet.rows import FleetRow
from components.console.refusals import make_not_found_error
from components.console.tenant.dataset import compare_dataset_versions, read_quarantine, read_split_facts
from components.console.tenant.timeline import make_timeline
from components.console.tenant.versions import VersionFacts, read_version_facts
from components.console.view import TenantView, View
from components.registry.registry import Version
from components.rollout.store.cause_list import list_causes
from components.rollout.store.feedback import read_newest_feedback
from components.rollout.store.ledger import read_history
from components.rollout.store.preferences import describe_choice
from components.rollout.store.traffic import read_days
from components.stages.reports.status import read_status
from components.usage.money import round_money
from components.usage.periods import Period, get_today, make_period, to_day
from components.usage.report import UsageRow, read_report

router = APIRouter()

_FEEDBACK = 50
_ENTRIES = 200
_COST_DAYS = 100
"""More than the days that the table of days has."""
_WAIT_S = 2.0
"""For a snapshot of the fleet: then the tenant is read alone, or the older snapshot is shown."""
"""The newest ones of the timeline."""


@router.get("/tenants/{tenant}", response_model=None)
def show_tenant(view: TenantView, tenant: str) -> Response:
    """Show the tenant's state, its ledger, its use and the feedback on it."""
    history = read_history(view.sources.database, tenant)
    timeline = make_timeline(history, list_causes(view.sources.database, _ENTRIES, tenant))
    row = _find_row(view, tenant)
    if row is None and not timeline:
        raise make_not_found_error("a tenant of this fleet")
    return view.render(
        "tenant.html",
        tenant=tenant,
        row=row,
        history=timeline[:_ENTRIES],
        entries=len(timeline),
        days=read_days(view.sources.database, tenant),
        **_read_costs(view, tenant),
        feedback=[
            (one, describe_choice(one)) for one in read_newest_feedback(view.sources.database, tenant, _FEEDBACK)
        ],
    )


@router.get("/tenants/{tenant}/versions", response_model=None)
def show_versions(view: TenantView, tenant: str, version: str = "") -> Response:
    """Show all versions, and one of them in full: the champion unless `version` names another."""
    versions = view.sources.registry.find_versions(tenant)
    chosen = version or _choose_version(versions)
    facts = read_version_facts(view.sources, versions, chosen) if chosen else None
    if version and facts is None:
        raise make_not_found_error("a version of this tenant")
    config, uri = view.console.config, view.sources.registry.uri
    links = _make_links(config, uri, facts) if facts else []
    return view.render("versions.html", tenant=tenant, versions=versions, facts=facts, links=links)


@router.get("/tenants/{tenant}/data", response_model=None)
def show_data(view: TenantView, tenant: str, old: str = "", new: str = "") -> Response:
    """Show splits, quarantine, and what changed from dataset version `old` to `new`."""
    workspace = view.sources.workspace
    if workspace is None:
        return view.render("data.html", tenant=tenant, splits=None, quarantine=[], known=[], old="", new="", changes=[])
    known = _list_dataset_versions(view, tenant, workspace.dataset_version if workspace.data.is_dir() else "")
    if not {old, new} - {""} <= set(known):
        raise make_not_found_error("a dataset version of this tenant")
    return view.render(
        "data.html",
        tenant=tenant,
        splits=read_split_facts(workspace, tenant),
        quarantine=read_quarantine(workspace, tenant),
        known=known,
        old=old,
        new=new,
        changes=compare_dataset_versions(workspace, tenant, old, new) if old and new else [],
    )


def _find_row(view: View, tenant: str) -> FleetRow | None:
    """Return the tenant's row of the newest snapshot; without one, read this tenant alone."""
    snapshot = view.console.board.get(_WAIT_S)
    if snapshot is not None:
        return snapshot.by_tenant.get(tenant)
    workspace = view.sources.workspace
    if workspace is None or not (workspace.data / tenant).is_dir():
        return None
    return make_status_row(read_status(workspace, [tenant]).tenants[0])


def _read_costs(view: View, tenant: str) -> dict[str, Any]:
    """Return `costs` (day since 1970 -> the cost of all use on it) and `month_cost`; without prices both are empty."""
    workspace = view.sources.workspace
    if workspace is None or workspace.params.for_tenant(tenant).prices is None:
        return {"costs": {}, "month_cost": ""}
    today, get_params, database = get_today(), workspace.params.for_tenant, view.sources.database
    days = read_report(database, Period(today - timedelta(days=_COST_DAYS), today), "day", get_params, [tenant])
    month = read_report(database, make_period(None, None, today), "month", get_params, [tenant])
    costs = {to_day(date.fromisoformat(row.period)): _show_cost(row) for row in days}
    return {"costs": costs, "month_cost": _show_cost(month[0]) if month else ""}


def _show_cost(row: UsageRow) -> str:
    return "" if row.cost is None else f"{round_money(row.cost):,f} {row.currency}"


def _choose_version(versions: list[Version]) -> str:
    aliased = [one for one in versions if "champion" in one.aliases]
    return (aliased or versions)[0].version if versions else ""


def _list_dataset_versions(view: View, tenant: str, present: str) -> list[str]:
    """Return the dataset versions that the tenant's versions were trained on, and the present one; newest first."""
    trained = [one.dataset_version for one in view.sources.registry.find_versions(tenant)]
    return [one for one in dict.fromkeys([present, *trained]) if one]


def _make_links(config: ConsoleConfig, tracking_uri: str, facts: VersionFacts) -> list[tuple[str, str]]:
    """Return label and URL of the pages of MLflow and Prefect about a version."""
    mlflow = config.mlflow or (tracking_uri if tracking_uri.startswith("http") else "")
    version, run = facts.version, facts.run
    links = []
    if mlflow:
        home = mlflow.rstrip("/")
        links.append(("version in MLflow", f"{home}/#/models/prefix-{version.tenant}/versions/{version.version}"))
        if run:
            links.append(("run in MLflow", f"{home}/#/experiments/{run.experiment_id}/runs/{run.run_id}"))
    if config.prefect:
        links.append(("runs in Prefect", f"{config.prefect.rstrip('/')}/runs"))
    return links
