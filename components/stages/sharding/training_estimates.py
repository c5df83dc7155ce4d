"""What the trainings of a plan will take: tokens, device seconds and money, before anything is trained.

Device seconds are operations of the training's steps, at the rate of earlier trainings of this workspace. Does not know
how tenants are divided into shards.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from components.rollout.store.usage import Usage
from components.stages.base import BASE_FILE
from components.stages.plan import Plan, PlanItem
from components.stages.sharding.cost import (
    NOTHING,
    RATES_FILE,
    SplitSize,
    TrainingRates,
    count_steps,
    estimate_step_operations,
    estimate_step_tokens,
)
from components.stages.stamps import TRAINING_FILE, read_json
from components.stages.workspace import Workspace
from components.usage.money import compute_cost, round_money

_DEVICE_RATES_FILE = "device-rates.json"
"""In var/: rates of device seconds, which are those of the steps alone."""
_KIND = "training"


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """One training that has not begun."""

    tenant: str
    tokens: int
    device_seconds: float | None
    """None: no training was measured in this workspace yet."""
    cost: Fraction | None = None
    """Of the device seconds; None: there are no prices, or no device seconds."""
    currency: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the estimate; money is text, rounded."""
        values: dict[str, Any] = {"tokens": self.tokens, "device_seconds": self.device_seconds}
        if self.device_seconds is not None:
            values["device_seconds"] = round(self.device_seconds, 1)
        if self.cost is not None:
            values |= {"cost": f"{round_money(self.cost):f}", "currency": self.currency}
        return values


def estimate_trainings(workspace: Workspace, planned: Plan) -> list[TrainingEstimate]:
    """Return an estimate for each tenant that the plan trains, in its order."""
    rates = _read_rates(workspace)
    return [_estimate(workspace, item, rates, planned.base["parameters"], NOTHING) for item in planned.items]


def estimate_with_new_data(workspace: Workspace, item: PlanItem, added: SplitSize) -> TrainingEstimate:
    """Return an estimate for one tenant whose training split gets new lines first; `item` needs no fingerprint.

    Without `out/base/base.json`, which the first retraining writes, the device seconds are unknown.
    """
    base = read_json(workspace.get_output_folder("base") / BASE_FILE) or {}
    return _estimate(workspace, item, _read_rates(workspace), base.get("parameters"), added)


def add_estimates(estimates: Iterable[TrainingEstimate]) -> TrainingEstimate:
    """Return the sum; what is unknown of one is unknown of all."""
    every = list(estimates)
    seconds = [one.device_seconds for one in every if one.device_seconds is not None]
    costs = [one.cost for one in every if one.cost is not None]
    return TrainingEstimate(
        "total",
        sum(one.tokens for one in every),
        sum(seconds) if len(seconds) == len(every) else None,
        sum(costs, Fraction(0)) if len(costs) == len(every) and costs else None,
        next((one.currency for one in every if one.currency), ""),
    )


def record_device_rate(workspace: Workspace, planned: Plan, trained: Collection[str]) -> None:
    """Take what a run has trained of its plan into the rate of later estimates. Raises WorkspaceError."""
    operations = seconds = 0.0
    for item in planned.items:
        if item.tenant in trained:
            operations += estimate_step_operations(workspace, item, planned.base["parameters"])
            seconds += float(_read_figures(workspace, item.tenant).get("seconds", 0.0))
    TrainingRates(workspace.root / "var" / _DEVICE_RATES_FILE).record(_KIND, operations, seconds)


def _read_rates(workspace: Workspace) -> TrainingRates:
    rates = TrainingRates(workspace.root / "var" / _DEVICE_RATES_FILE)
    return rates if rates.estimate_seconds(1.0) is not None else TrainingRates(workspace.root / "var" / RATES_FILE)


def _estimate(
    workspace: Workspace, item: PlanItem, rates: TrainingRates, parameters: int | None, added: SplitSize
) -> TrainingEstimate:
    tokens, seconds = _estimate_tokens(workspace, item, added), None
    if parameters is not None:
        seconds = rates.estimate_seconds(estimate_step_operations(workspace, item, parameters, added))
    prices = workspace.params.for_tenant(item.tenant).prices
    if prices is None or seconds is None:
        return TrainingEstimate(item.tenant, tokens, seconds)
    cost = compute_cost(Usage(training_us=round(1e6 * seconds)), 1, prices)
    return TrainingEstimate(item.tenant, tokens, seconds, cost, prices.currency)


def _estimate_tokens(workspace: Workspace, item: PlanItem, added: SplitSize) -> int:
    """Return the tokens by those of a step of the tenant's last training; without one, by the bytes of its data."""
    measured = _read_figures(workspace, item.tenant)
    steps, tokens = measured.get("steps", 0), measured.get("tokens", 0)
    if steps and tokens:
        return int(tokens) * count_steps(item) // int(steps)
    return round(estimate_step_tokens(workspace, item, added))


def _read_figures(workspace: Workspace, tenant: str) -> dict[str, Any]:
    measured = read_json(workspace.get_output_folder("train", tenant) / TRAINING_FILE)
    return measured if isinstance(measured, dict) else {}
