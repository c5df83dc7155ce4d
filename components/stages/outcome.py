"""What became of a tenant in a stage, so that one tenant's trouble never hides another's success."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from components.errors import PrefixFleetError
from components.stages.progress import join_abbreviated, log_warning


@dataclass(frozen=True, slots=True)
class TenantOutcome:
    """One tenant in one stage; `detail` is for people."""

    tenant: str
    stage: str
    state: Literal["done", "stood", "failed"]
    detail: str = ""


_STAGE_PAST_TENSE = {
    "train": "trained",
    "evaluate": "evaluated",
    "gate": "judged",
    "register": "registered",
    "roll out": "rolled out",
}


def attempt(tenant: str, stage: str, work: Callable[[], TenantOutcome]) -> TenantOutcome:
    """Do one tenant's work in a stage; trouble that its owner can mend is told and becomes a failed outcome."""
    troubles: list[TenantOutcome] = []
    with catch_failure(tenant, stage, troubles):
        return work()
    return troubles[0]


@contextmanager
def catch_failure(tenant: str, stage: str, failures: list[TenantOutcome]) -> Iterator[None]:
    """A block whose trouble is told, added to `failures`, and holds up no other tenant."""
    try:
        yield
    except PrefixFleetError as problem:
        log_warning(f"{tenant}: not {_STAGE_PAST_TENSE[stage]}: {problem}")
        failures.append(TenantOutcome(tenant, stage, "failed", str(problem)))


class TenantsFailedError(PrefixFleetError):
    """Some tenants failed in a stage; the others' results stand."""


def raise_on_failures(outcomes: Iterable[TenantOutcome]) -> None:
    """Raise when a tenant failed: the end of a stage or a run that has done all it could.

    Raises:
        TenantsFailedError: names the tenants that failed and why; of many the first.

    """
    everyone = list(outcomes)
    failed = [outcome for outcome in everyone if outcome.state == "failed"]
    if failed:
        told = join_abbreviated([f"{outcome.tenant}: {outcome.detail}" for outcome in failed], "; ")
        wanted = f"all of {len({outcome.tenant for outcome in everyone})} tenants to come through"
        raise TenantsFailedError(wanted, f"{len(failed)} failed ({told})", "mend these; the others' results stand")
