"""The runs of retrainings: a list with its trend, and each with its plan, workers, refusals and cost."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from components.console.nights import find_lanes, find_period
from components.console.paging import find_page
from components.console.refusals import make_not_found_error
from components.console.view import CurrentView
from components.rollout.store.runs import RESULTS, RunEntry, count_runs, read_run, read_run_tenants, read_runs
from components.stages.reports.night_files import make_report
from components.stages.reports.night_page import make_policy, write_page

router = APIRouter()

_RUNS_PER_PAGE = 60
_HIGHEST_ID = 2**31 - 1
"""Of a database's integer."""


@router.get("/nights", response_model=None)
def show_nights(view: CurrentView, page: int = 1) -> Response:
    """Show a page of runs, the last ones first."""
    place = find_page(count_runs(view.sources.database), page, _RUNS_PER_PAGE)
    runs = read_runs(view.sources.database, place.size, place.start)
    ended = [run for run in reversed(runs) if run.ended_at]
    series = [{"label": result, "points": [[run.id, run.counts.get(result, 0)] for run in ended]} for result in RESULTS]
    charts = [
        ("night-results", "Tenants by result", "tenants", series),
        ("night-seconds", "Device time", "device seconds", _make_line("device seconds", ended, "device_seconds")),
        ("night-tokens", "Training tokens", "tokens", _make_line("training tokens", ended, "training_tokens")),
    ]
    return view.render("nights.html", runs=runs, results=RESULTS, charts=charts if len(ended) > 1 else [], page=place)


@router.get("/nights/{run}", response_model=None)
def show_night(view: CurrentView, run: int) -> Response:
    """Show one run."""
    entry = read_run(view.sources.database, run) if 0 < run <= _HIGHEST_ID else None
    if entry is None:
        raise make_not_found_error("a run of this fleet")
    tenants = read_run_tenants(view.sources.database, run)
    began_s, ended_s = find_period(tenants)
    return view.render(
        "night.html",
        run=entry,
        results=RESULTS,
        tenants=sorted(tenants, key=lambda one: (-RESULTS.index(one.result), one.tenant)),
        lanes=find_lanes(tenants),
        began_s=began_s,
        ended_s=ended_s,
    )


@router.get("/nights/{run}/report", response_model=None)
def show_report(view: CurrentView, run: int) -> Response:
    """Show the report of a run, which is a page of its own, to be saved or sent."""
    workspace = view.sources.workspace
    params, report = workspace.params if workspace else None, None
    if 0 < run <= _HIGHEST_ID:
        report = make_report(view.sources.database, run, view.console.config, params)
    if report is None:
        raise make_not_found_error("a run of this fleet")
    return HTMLResponse(write_page(report), headers={"content-security-policy": make_policy()})


def _make_line(label: str, runs: Iterable[RunEntry], name: str) -> list[dict[str, Any]]:
    return [{"label": label, "points": [[run.id, getattr(run, name)] for run in runs]}]
