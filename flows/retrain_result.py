"""The result of a retraining. Does not know whether a flow made it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.registry.registry import CHALLENGER
from components.stages.migration.waves import WaveResult
from components.stages.outcome import TenantOutcome
from components.stages.progress import join_abbreviated
from components.stages.reports.results_table import MOST_SHOWN, TenantResult
from components.stages.run_log import WorkerSpan


@dataclass
class RetrainResult:
    """The result of a run."""

    version: str
    """The dataset version."""
    plan: str
    """The plan in one line."""
    outcomes: list[TenantOutcome] = field(default_factory=list)
    """One outcome per tenant and stage."""
    promoted: dict[str, str] = field(default_factory=dict)
    """Tenant -> version, for tenants whose champion changed."""
    rejected: dict[str, str] = field(default_factory=dict)
    """Tenant -> why the gate rejected its present prefix, in this run or an earlier one."""
    refused: dict[str, str] = field(default_factory=dict)
    """Tenant that needed training and was not trained -> why: its budget is spent."""
    workers: dict[str, str] = field(default_factory=dict)
    """Tenant -> the worker that trained or evaluated it; empty if this run did so itself."""
    spans: dict[str, WorkerSpan] = field(default_factory=dict)
    """Tenant -> when and where it was trained."""
    next_base_reasons: dict[str, str] = field(default_factory=dict)
    """Tenant -> why it was trained for the base to which the fleet moves."""
    rows: list[TenantResult] = field(default_factory=list)
    """The table of results."""
    causes: list[str] = field(default_factory=list)
    """Why the run happened: a line for each cause."""

    def add_wave(self, wave: WaveResult) -> None:
        """Add what was done for tenants that are on the next base."""
        self.outcomes += wave.outcomes
        self.promoted |= wave.switched
        self.rejected |= wave.rejected
        self.refused |= wave.refused
        self.workers |= wave.workers
        self.spans |= wave.spans
        self.next_base_reasons |= wave.reasons

    def choose_shown(self, tenants: Sequence[str]) -> list[str]:
        """Return the tenants for the table of results: of a large fleet only those that the run worked on."""
        worked_on = {one.tenant for one in self.outcomes if one.state != "skipped"}
        return [one for one in tenants if one in worked_on or len(tenants) <= MOST_SHOWN]

    def list_passed(self, stage: str) -> list[str]:
        """Return the tenants that did not fail in a stage."""
        return [one.tenant for one in self.outcomes if one.stage == stage and one.state != "failed"]

    def list_done(self, stage: str) -> list[str]:
        """Return the tenants for which a stage made new results."""
        return [one.tenant for one in self.outcomes if one.stage == stage and one.state == "done"]

    def list_finished(self) -> list[TenantOutcome]:
        """Return an outcome of the last stage for every tenant that failed in none."""
        failed = {one.tenant for one in self.failures}
        planned = {one.tenant for one in self.outcomes if one.stage == "train"}
        return [TenantOutcome(tenant, "roll out", "done") for tenant in sorted(planned - failed)]

    @property
    def failures(self) -> list[TenantOutcome]:
        """The failed outcomes of all stages."""
        return [one for one in self.outcomes if one.state == "failed"]

    @property
    def sentence(self) -> str:
        """The run in one line."""
        parts = [f"{len(self.list_done('train'))} trained", f"{len(self.promoted)} promoted"]
        on_trial = [row.tenant for row in self.rows if row.alias == CHALLENGER]
        parts += [f"{len(on_trial)} on trial"] if on_trial else []
        parts += [f"{len(self.rejected)} rejected ({join_abbreviated(sorted(self.rejected))})"] if self.rejected else []
        parts += [f"{len(self.refused)} over budget ({join_abbreviated(sorted(self.refused))})"] if self.refused else []
        failures = [f"{one.tenant} failed in {one.stage}" for one in self.failures]
        parts += [join_abbreviated(failures)] if failures else []
        planned = sum(one.stage == "train" for one in self.outcomes) + len(self.refused)
        return f"{', '.join(parts)} of {planned} tenants"

    @property
    def message(self) -> str:
        """The run in one line, with the reasons of the first rejections and of tenants over their budget."""
        message = self.sentence
        for title, reasons in (("Rejected", self.rejected), ("Not trained", self.refused)):
            lines = [f"{tenant}: {why}" for tenant, why in sorted(reasons.items())]
            message += f". {title}: {join_abbreviated(lines, '; ')}" if lines else ""
        return message
