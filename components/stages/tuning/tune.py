"""Search a tenant's length, learning rate and start (or its method's size) by validation score, under a budget.

The study lies in var/tune/<tenant> under a key made of everything that a score depends on: the tenant's data, the base,
the values that are not searched, the space, and how is scored. So the same call goes on where an earlier one stopped,
and results of other data or values are never mixed in. The present values are tried first, and what is not better than
they are is not written.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from components.config import Params, TrainConfig
from components.data.digests import file_digest
from components.errors import BaseModelError, ConfigError, DataError, TrainingError
from components.registry.manifest import SCHEMA
from components.stages.plan import PlanItem, examine
from components.stages.progress import Progress, advance, tell
from components.stages.tuning.overrides import check_writable, write_override
from components.stages.tuning.search_space import Fields, Space, Wanted, space_of
from components.stages.tuning.study import Row, Running, Study
from components.stages.tuning.trial import LOSS, Measured, Trier, is_lower_better, label, shortened
from components.stages.workspace import Workspace

_MENDABLE = (BaseModelError, ConfigError, DataError, TrainingError)
_HOPELESS = 10
"""So many failures in a row end a search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to tune and how. `trials` counts those of earlier runs of the same study; `minutes` is for this run.

    Raises:
        ConfigError: nothing may be tried, or nothing is scored.
    """

    tenant: str
    trials: int | None = None
    minutes: float | None = None
    metric: str = "bleu"
    examples: int = 64
    wanted: Wanted = field(default_factory=Wanted)
    steps: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty budget."""
        for name in ("trials", "minutes", "examples", "steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"--{name} above zero", f"{value:g}", "give at least 1, or leave it out")
        if self.trials is None and self.minutes is None:
            raise ConfigError("a budget", "none", "give --trials, --minutes or both")


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came out: trials, the best first, and the values that are (or with a dry run would be) written."""

    metric: str
    space: Space
    rows: tuple[Row, ...]
    present: Row | None
    best: Row | None
    values: Fields
    written: bool

    def value(self, row: Row) -> str:
        """A complete trial's score for people."""
        if row.cost is None:
            return "-"
        return f"{row.cost:.3f}" if is_lower_better(self.metric) else f"{-row.cost:.2f}"


def tune(workspace: Workspace, request: Request, *, clock: Callable[[], float] = time.monotonic) -> Tuned:
    """Run trials until the budget is spent; write the best one's values where it beats the present ones.

    Ctrl-C (KeyboardInterrupt goes on to the caller) and a kill lose at most the steps since the last validation.

    Raises:
        DataError: no such tenant, or no usable train or validation split.
        ConfigError: an impossible space, or a params.yaml that cannot be changed without changing more.
        TrainingError: no trial came through; the last reason is told.
        WorkspaceError: params.yaml is read-only or changed meanwhile, or the study cannot be read or written.
    """
    file = workspace.root / "params.yaml"
    digest = file_digest(file)
    workspace.tenants([request.tenant])
    if not request.dry_run:
        check_writable(file)
    search = _Search(workspace, request, clock)
    search.run()
    tuned = search.result()
    if not tuned.values or request.dry_run:
        return tuned
    write_override(file, digest, workspace.params, request.tenant, tuned.values)
    return replace(tuned, written=True)


class _Search:
    def __init__(self, workspace: Workspace, request: Request, clock: Callable[[], float]) -> None:
        self.request, self.clock = request, clock
        self.deadline = math.inf if request.minutes is None else clock() + 60 * request.minutes
        self.began = clock()
        params = workspace.params.for_tenant(request.tenant)
        self.present = params.train
        self.space = space_of(params.train, request.wanted)
        item = examine(workspace, request.tenant, workspace.base.digest)
        self.trier = Trier(workspace, item, params, request.metric, request.examples)
        trial = shortened(self.present, request.steps)
        key = _key(self.space, trial, item, workspace.base.digest, self.trier, params)
        folder = workspace.root / "var" / "tune" / request.tenant
        self.state: Path = folder / key[:16]
        self.study = Study(folder / "study.db", key, self.space, seed=trial.seed, spare=max(1, trial.warmup_steps))

    def run(self) -> None:
        request, tenant = self.request, self.request.tenant
        before = self._ended()
        if before:
            tell(f"{tenant}: {len(before)} trials of this study stand (var/tune/{tenant})")
        while not self._spent():
            running = self.study.begin(None if self._present_row() else self.space.of(self.present))
            if running is None:
                tell(f"{tenant}: everything in the space has been tried")
                break
            if not self._try(running):
                tell(f"{tenant}: {request.minutes:g} minutes are over; the same command goes on with {_name(running)}")
                break

    def result(self) -> Tuned:
        rows = self.study.rows()
        order = {"complete": 0, "pruned": 1, "failed": 2, "unfinished": 3}
        ranked = sorted(rows, key=lambda row: (order[row.state], row.cost or 0.0, row.number))
        best = ranked[0] if ranked and ranked[0].cost is not None else None
        present = self._present_row()
        if best is None and rows and all(row.state == "failed" for row in rows):
            got = f"{len(rows)} failed, the last for: {rows[-1].why}"
            raise TrainingError(f"a trial of {self.request.tenant} that comes through", got, "try other values")
        values: dict[str, Any] = {}
        if best is not None and present is not None and (present.cost is None or best.cost < present.cost):  # type: ignore[operator]
            now = self.space.of(self.present)
            values = {name: value for name, value in best.fields.items() if (value, now[name]) != (None, None)}
        return Tuned(self.request.metric, self.space, tuple(ranked), present, best, values, written=False)

    def _try(self, running: Running) -> bool:
        """Run one trial to its end; False where time was up before."""
        tenant, name = self.request.tenant, _name(running)
        config = shortened(self.present.model_copy(update=dict(running.fields)), self.request.steps)
        is_present, pruned = self._is_present(running.fields), False
        told = ", ".join(
            f"{a} {b}" for a, b in zip(self.space.dimensions, self.space.shown(running.fields), strict=True)
        )
        tell(f"{tenant}: {name}{' (the present values)' if is_present else ''}: {told}")

        def report(step: int, loss: float) -> None:
            nonlocal pruned
            worse = running.report(step, loss)
            pruned = worse and not is_present and step < config.max_steps

        try:
            out = self.trier.run(name, config, self.state, report, lambda: pruned or self.clock() >= self.deadline)
        except _MENDABLE as problem:
            running.fail(f"{problem.wanted}: got {problem.got}")
            tell(f"{tenant}: {name} failed: {problem}")
        else:
            if isinstance(out, Measured):
                cost = out.value if is_lower_better(self.request.metric) else -out.value
                running.complete(cost, out.steps, out.seconds)
                tell(f"{tenant}: {name}: {label(self.request.metric)} {out.value:.3f} in {out.seconds:.0f} s")
            elif pruned:
                running.prune(out.steps, out.seconds)
                tell(f"{tenant}: {name} given up at step {out.steps}: half of the trials had lower losses there")
            else:
                return False
        shutil.rmtree(self.state, ignore_errors=True)
        self._show()
        return True

    def _spent(self) -> bool:
        ended = self._ended()
        if self.clock() >= self.deadline:
            return True
        if len(ended) >= _HOPELESS and all(row.state == "failed" for row in ended[-_HOPELESS:]):
            tell(f"{self.request.tenant}: the last {_HOPELESS} trials failed; no more are tried")
            return True
        over = self.request.trials is not None and len(ended) >= self.request.trials
        return over and self._present_row() is not None

    def _ended(self) -> list[Row]:
        return [row for row in self.study.rows() if row.state != "unfinished"]

    def _present_row(self) -> Row | None:
        """The trial of the present values, once it has come to an end that was not early."""
        rows = [row for row in self._ended() if row.state != "pruned" and self._is_present(row.fields)]
        return rows[0] if rows else None

    def _is_present(self, fields: Fields) -> bool:
        return bool(fields) and self.present.model_copy(update=dict(fields)) == self.present

    def _show(self) -> None:
        trials, minutes = self.request.trials, self.request.minutes
        if trials is not None:
            advance(Progress("trials", self.request.tenant, len(self._ended()), trials))
        elif minutes is not None:
            spent = int((self.clock() - self.began) / 60)
            advance(Progress("minutes of trials", self.request.tenant, spent, math.ceil(minutes)))


def _name(running: Running) -> str:
    return f"trial {running.number + 1}"


def _key(space: Space, trial: TrainConfig, item: PlanItem, base_digest: str, trier: Trier, params: Params) -> str:
    decoded = trier.metric != LOSS
    values = {
        "artifact_schema": SCHEMA,
        "base": base_digest,
        "data": item.data_digest,
        "shared": trier.shared.sha256 if trier.shared else None,
        "rest": space.rest(trial),
        "space": asdict(space),
        "metric": trier.metric,
        "scored": [len(trier.scored), params.evaluate.model_dump(mode="json")] if decoded else None,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
