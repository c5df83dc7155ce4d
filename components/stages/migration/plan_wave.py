"""Which tenants a wave trains for the next base, and which wait or have moved. Trains nothing.

A tenant is a candidate if its prefix for the next base is missing or outdated, and was not judged before with the same
data, parameters and base. Its champion's score on the present test examples must be known, since the gate compares the
new prefix with it, text by text; `retrain` makes that score.
"""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.registry.mlflow.versions import CHAMPION, Version
from components.rollout.store.causes import Cause, read_causes_of_kind
from components.rollout.store.observations import count_requests
from components.stages.base import read_base_facts
from components.stages.evaluation_scoring import PREDICTIONS_FILE, REPORT_FILE
from components.stages.next_base_view import NextBaseView, find_moved
from components.stages.plan import PlanItem, plan
from components.stages.stamps import STAMP_FILE, is_up_to_date, read_json, write_json
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, remove_tree

_TRAFFIC_MINUTES = 7 * 24 * 60


@dataclass(frozen=True)
class WavePlan:
    """The state of a migration, and the tenants that the next wave may train."""

    base: Mapping[str, Any]
    """The content of the next base's base.json."""
    champions: Mapping[str, Version]
    moved: frozenset[str]
    """Tenants whose champion is on the next base."""
    items: tuple[PlanItem, ...]
    """Tenants to train in the order of training: those that have moved and changed, then those that may move."""
    waiting: tuple[str, ...]
    """Tenants that cannot be compared with their champion yet."""
    settled: tuple[Cause, ...]
    """Open causes of tenants that have moved: the wave was killed after it had switched them over."""
    refused: Mapping[str, str]
    """Tenant that stays on the present base -> why it did not move; until its data or parameters change."""

    @property
    def base_digest(self) -> str:
        """The next base's digest."""
        return str(self.base["digest"])

    @property
    def sentence(self) -> str:
        """The migration in one line."""
        counts = (
            (len(self.moved), "moved"),
            (sum(item.tenant not in self.moved for item in self.items), "to move"),
            (len(self.refused), "refused"),
            (len(self.waiting), "wait for `retrain` to score their champion"),
        )
        return f"next base {self.base_digest[:12]}: " + ", ".join(f"{n:,} {what}" for n, what in counts if n)


def plan_wave(current: Workspace, view: NextBaseView, now_minute: int) -> WavePlan:
    """Compare every tenant's prefix for the next base with its present data and parameters.

    Raises:
        BaseModelError: there is no usable next base.
        DataError: no tenant has data.
        RegistryError: MLflow does not answer.
        WorkspaceError: the database does not answer.
    """
    facts = read_base_facts(view)
    digest = facts["digest"]
    champions = view.registry.poll_aliased(CHAMPION)[CHAMPION]
    moved = find_moved(champions, digest)
    known = {one.id: one for one in read_causes_of_kind(view.database, "base")}
    traffic: Mapping[str, int] = {}
    if current.params.next_base is not None and current.params.next_base.order == "traffic":
        traffic = count_requests(view.database, now_minute - _TRAFFIC_MINUTES)
    planned = plan(view)
    ready: list[PlanItem] = []
    waiting, settled, refused = [], [], {}
    for item in (*planned.items, *planned.skipped):
        tenant, cause = item.tenant, known.get(make_cause_id(item.fingerprint))
        is_closed = cause is not None and bool(cause.closed_at)
        if tenant in moved and not item.reason:
            settled += [cause] if cause is not None and not is_closed else []
        elif cause is not None and is_closed:
            refused[tenant] = cause.result
        elif tenant in moved or find_champion_score(current, item, champions.get(tenant)) is not None:
            ready.append(item)
        elif tenant in champions:
            waiting.append(tenant)
        else:
            ready.append(item)
    ready.sort(key=lambda one: _rank(one, moved, traffic))
    return WavePlan(facts, champions, frozenset(moved), tuple(ready), tuple(waiting), tuple(settled), refused)


def _rank(item: PlanItem, moved: Collection[str], traffic: Mapping[str, int]) -> tuple[bool, bool, bool, int]:
    """Return a sort key: shared prefixes first; then those that have moved, what a killed wave has trained, traffic."""
    is_trained = not item.reason
    return item.train.shared is not None, item.tenant not in moved, not is_trained, -traffic.get(item.tenant, 0)


def make_cause_id(fingerprint: str) -> str:
    """Return the id of the cause "next base" of a tenant's data and parameters on it."""
    return f"base-{fingerprint[:32]}"


def make_cause(item: PlanItem, base_digest: str) -> Cause:
    """Return the cause of one tenant's training for the next base."""
    why = f"the fleet moves to base {base_digest[:12]}"
    return Cause(tenant=item.tenant, id=make_cause_id(item.fingerprint), kind="base", why=why)


def find_champion_score(current: Workspace, item: PlanItem, champion: Version | None) -> Path | None:
    """Return the folder with the champion's report on the present examples, on its own base; None: there is none."""
    if champion is None:
        return None
    evaluated = current.get_output_folder("evaluate", item.tenant)
    evaluate = current.params.for_tenant(item.tenant).evaluate.model_dump(mode="json")
    for folder in (evaluated, evaluated / "champion"):
        stamp = read_json(folder / STAMP_FILE)
        inputs = stamp.get("inputs", {}) if isinstance(stamp, dict) else {}
        present = inputs.get("data_digest") == item.data_digest and inputs.get("evaluate") == evaluate
        if present and inputs.get("prefix_digest") == champion.sha256:
            return folder if is_up_to_date(folder, inputs, current.digests.digest_file) else None
    return None


def place_champion_score(view: NextBaseView, folder: Path, champion: Version) -> None:
    """Copy the champion's score on its own base to where the gate reads it. Raises WorkspaceError."""
    target = view.get_output_folder("evaluate", champion.tenant) / "champion"
    with convert_disk_errors(f"write {target}"):
        remove_tree(target)
        target.mkdir(parents=True)
        for name in (REPORT_FILE, PREDICTIONS_FILE):
            shutil.copyfile(folder / name, target / name)
    write_json(target / "version.json", {"version": champion.version})
