"""The artifacts of a retraining in Prefect: the table of results and a report, the same as on the terminal."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from components.stages.outcome import TenantOutcome
from components.stages.progress import join_abbreviated
from components.stages.reports import charts
from components.stages.reports.night_files import try_to_write_report
from components.stages.reports.results_table import TenantResult, make_narrow_table, read_results, to_markdown
from components.stages.run_log import make_report_link
from components.stages.workspace import Workspace
from flows.retrain_result import RetrainResult


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def publish_results(workspace: Workspace, run: RetrainResult, tenants: Sequence[str] | None) -> list[TenantResult]:
    """Draw the charts and create the artifacts `retrain-results` and `retrain-report`; return the table's rows."""
    rows = read_results(workspace, run.choose_shown(workspace.list_tenants(tenants)))
    charts.draw_charts(workspace)
    headers, cells = make_narrow_table(rows)
    named = [dict(zip(headers, row, strict=True)) for row in cells]
    reasons = run.failures, run.rejected, rows
    create_table_artifact(key="retrain-results", table=named, description=describe_table(run.plan, *reasons))
    page = make_page(run.plan, *reasons, run.workers, run.causes)
    create_markdown_artifact(key="retrain-report", markdown=page)
    return rows


@task(cache_policy=NO_CACHE)
def publish_report(workspace: Workspace, run: int) -> None:
    """Write the report of a night to out/nights; link the console's page of it, if params.yaml says where it is."""
    path = try_to_write_report(workspace, run)
    if link := make_report_link(workspace.params.console, run):
        create_link_artifact(key="night-report", link=link, link_text=f"Report of run {run}")
    elif path:
        text = f"Report of run {run}: `{path.relative_to(workspace.root)}` in the workspace"
        create_markdown_artifact(key="night-report", markdown=text)


def make_page(
    plan: str,
    failures: Sequence[TenantOutcome],
    rejected: Mapping[str, str],
    rows: Sequence[TenantResult],
    workers: Mapping[str, str] = MappingProxyType({}),
    causes: Sequence[str] = (),
) -> str:
    """Return a run as markdown: plan and causes, the table, the reasons of failures and rejections, overlaps, workers.

    `rejected`: tenant -> why the gate rejected its prefix. `workers`: tenant -> the worker that trained it.
    """
    reasons = f"{_list_reasons(failures, rejected, rows)}{_list_workers(workers)}"
    cause = f"Cause: {join_abbreviated(causes, '; ')}\n\n" if causes else ""
    return f"# Retraining\n\nPlan: {plan}\n\n{cause}Scores without and with the prefix:\n\n{to_markdown(rows)}{reasons}"


def describe_table(
    plan: str, failures: Sequence[TenantOutcome], rejected: Mapping[str, str], rows: Sequence[TenantResult]
) -> str:
    """Return the text beside the table: the plan, and the reasons that would make the table too wide."""
    return f"{plan}\n\nBLEU and ROUGE-L: without and with the prefix.\n{_list_reasons(failures, rejected, rows)}"


def _list_reasons(failures: Sequence[TenantOutcome], rejected: Mapping[str, str], rows: Sequence[TenantResult]) -> str:
    failed = [f"- **{one.tenant}** failed to {one.stage}: {one.detail}\n" for one in failures]
    refused = [f"- **{tenant}**: {why}\n" for tenant, why in sorted(rejected.items())]
    overlaps = [f"- **{row.tenant}**: {row.overlaps}\n" for row in rows if row.overlaps]
    parts = [("Failed", failed), ("Rejected by the gate", refused), ("Overlaps between splits", overlaps)]
    return "".join(f"\n## {head}\n\n{''.join(lines)}" for head, lines in parts if lines)


def _list_workers(workers: Mapping[str, str]) -> str:
    """Return which worker trained or evaluated which tenants."""
    lines = [
        f"- **{worker}**: {', '.join(sorted(tenant for tenant, other in workers.items() if other == worker))}\n"
        for worker in sorted(set(workers.values()))
    ]
    return f"\n## Workers\n\n{''.join(lines)}" if lines else ""
