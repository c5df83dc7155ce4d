"""What a run leaves in Prefect's page: the table of results and a page of text, the same that the terminal shows."""

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from components.stages.outcome import Outcome
from components.stages.reports import charts
from components.stages.reports.results_table import Row, markdown, results, table
from components.stages.workspace import Workspace


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def publish(place: Workspace, plan: str, failures: Sequence[Outcome], tenants: Sequence[str] | None) -> list[Row]:
    """Draw the pictures and leave the artifacts `retrain-results` and `retrain-report`; returns the rows."""
    rows = results(place, tenants)
    charts.draw(place)
    heads, cells = table(rows)
    named = [dict(zip(heads, row, strict=True)) for row in cells]
    create_table_artifact(key="retrain-results", table=named, description=plan)
    create_markdown_artifact(key="retrain-report", markdown=page(plan, failures, rows))
    return rows


def page(plan: str, failures: Sequence[Outcome], rows: Sequence[Row]) -> str:
    """A run in markdown: the plan, the table, what failed and why."""
    failed = "".join(f"- **{one.tenant}** failed to {one.stage}: {one.detail}\n" for one in failures)
    told = f"\n## Failed\n\n{failed}" if failed else ""
    return f"# Retraining\n\nPlan: {plan}\n\n{markdown(rows)}{told}"
