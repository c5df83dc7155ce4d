"""The runs of retrainings: a list with its trend, and each with its plan, workers, refusals and cost."""

from fastapi import APIRouter
from fastapi.responses import Response

from components.console.nights import find_lanes, find_period
from components.console.refusals import make_not_found_error
from components.console.view import CurrentView
from components.rollout.store.runs import read_run_tenants, read_runs

router = APIRouter()

_RUNS = 60
_RESULTS = ("promoted", "accepted", "rejected", "failed")


@router.get("/nights", response_model=None)
def show_nights(view: CurrentView) -> Response:
    """Show the last runs."""
    runs = read_runs(view.sources.database, _RUNS)
    ended = [run for run in reversed(runs) if run.ended_at]
    series = [
        {"label": result, "points": [[run.id, run.counts.get(result, 0)] for run in ended]} for result in _RESULTS
    ]
    cost = [{"label": "device seconds", "points": [[run.id, run.device_seconds] for run in ended]}]
    return view.render("nights.html", runs=runs, results=_RESULTS, series=series, cost=cost)


@router.get("/nights/{run}", response_model=None)
def show_night(view: CurrentView, run: int) -> Response:
    """Show one run."""
    entry = next((one for one in read_runs(view.sources.database, _RUNS) if one.id == run), None)
    if entry is None:
        raise make_not_found_error(f"one of the last {_RUNS} runs")
    tenants = read_run_tenants(view.sources.database, run)
    began_s, ended_s = find_period(tenants)
    return view.render(
        "night.html",
        run=entry,
        results=_RESULTS,
        tenants=sorted(tenants, key=lambda one: (-_RESULTS.index(one.result), one.tenant)),
        lanes=find_lanes(tenants),
        began_s=began_s,
        ended_s=ended_s,
    )
