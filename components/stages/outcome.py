"""The result of one tenant in one stage, so that the failure of one tenant does not hide the success of another."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from components.errors import PrefixFleetError
from components.logs import log_context
from components.otel.span import Span
from components.stages.progress import join_abbreviated, log_warning


@dataclass(frozen=True, slots=True)
class TenantOutcome:
    """One tenant in one stage."""

    tenant: str
    stage: str
    state: Literal["done", "skipped", "failed"]
    """skipped: the results were up to date, so the stage had nothing to do."""
    detail: str = ""
    """For people: the reason of a failure, or the result in a sentence; "" if there is nothing to add."""


_STAGE_PAST_TENSE = {
    "train": "trained",
    "evaluate": "evaluated",
    "gate": "judged",
    "register": "registered",
    "roll out": "rolled out",
}


def attempt(tenant: str, stage: str, work: Callable[[], TenantOutcome]) -> TenantOutcome:
    """Run one tenant's work in a stage. A PrefixFleetError is logged and becomes a failed outcome."""
    failures: list[TenantOutcome] = []
    with catch_failure(tenant, stage, failures):
        return work()
    return failures[0]


@contextmanager
def catch_failure(tenant: str, stage: str, failures: list[TenantOutcome]) -> Iterator[None]:
    """Log a PrefixFleetError of the block and add it to `failures` instead of raising it."""
    with log_context(tenant=tenant):
        try:
            yield
        except PrefixFleetError as problem:
            log_warning(f"{tenant}: not {_STAGE_PAST_TENSE[stage]}: {problem}")
            failures.append(TenantOutcome(tenant, stage, "failed", str(problem)))


class TenantsFailedError(PrefixFleetError):
    """Some tenants failed in a stage; the results of the others are kept."""


def end_tenant_span(span: Span, outcome: TenantOutcome) -> None:
    """End the span of one tenant in a stage."""
    span.set(outcome=outcome.state)
    if outcome.state == "failed":
        span.fail()
    span.end()


def raise_on_failures(outcomes: Iterable[TenantOutcome]) -> None:
    """Raise if a tenant failed. A stage or a run calls this after it has done all it could.

    Raises:
        TenantsFailedError: names the failed tenants with their reasons; of many only the first.

    """
    everyone = list(outcomes)
    failed = [outcome for outcome in everyone if outcome.state == "failed"]
    if failed:
        reasons = join_abbreviated([f"{outcome.tenant}: {outcome.detail}" for outcome in failed], "; ")
        tenant_count = len({outcome.tenant for outcome in everyone})
        fix = "solve these problems and run again; the results of the other tenants are kept"
        raise TenantsFailedError(f"success for all {tenant_count} tenants", f"{len(failed)} failed ({reasons})", fix)
