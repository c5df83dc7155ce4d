"""A shard's tenants end where each would end alone, whoever else is in the passes and however these are computed."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_paths import TRAINING, turn_off, turn_off_unless

from components.config import EngineConfig
from components.model.base.load import Base
from components.model.packing import is_packable
from components.training.loop import train_alone, train_together
from components.training.run import TrainingJob, TrainResult

JobOf = Callable[..., TrainingJob]
Check = Callable[..., None]

EVERYWHERE: dict[str, dict[str, Any]] = {
    "plain": {},
    "long": {"prefix_length": 7, "batch_size": 3, "max_steps": 7, "validate_every": 3, "learning_rate": 0.2},
    "mlp": {"mlp_hidden": 5, "count": 4, "loss": "sequence-sum", "warmup_steps": 3, "seed": 3},
    "clipped": {"max_grad_norm": 0.1, "weight_decay": 0.1, "longest": 6, "batch_size": 2},
    "empty": {"prefix_length": 0},
    "none": {"method": "in-context"},
    "frozen": {"shared": "task"},
    "joint": {"shared": "task", "shared_training": "joint", "mlp_hidden": 8, "longest": 20},
    "patient": {"count": 1, "patience": 1, "validate_every": 1, "max_steps": 12, "learning_rate": 0.3},
}
DECODER_ONLY: dict[str, dict[str, Any]] = {
    "prompt": {"method": "embedding", "prefix_length": 3, "learning_rate": 0.3},
    "prompt-mlp": {"method": "embedding", "prefix_length": 2, "mlp_hidden": 6, "batch_size": 2},
    "infix": {"method": "infix", "prefix_length": 3},
    "infix-mlp": {"method": "infix", "prefix_length": 1, "mlp_hidden": 4, "batch_size": 6},
}
ALL = {**EVERYWHERE, **DECODER_ONLY}
KINDS = {"gpt2": ALL, "llama": ALL, "opt": ALL, "bart": EVERYWHERE, "t5": EVERYWHERE}


def together(base: Base, jobs: Iterable[TrainingJob], **engine: Any) -> dict[str, TrainResult]:
    results = {}
    for ended in train_together(base, jobs, EngineConfig(**engine)):
        assert isinstance(ended.result, TrainResult), ended.result
        results[ended.job.tenant] = ended.result
    return results


@pytest.fixture(scope="module")
def bases(build_base: Callable[..., Base]) -> Callable[[str], Base]:
    made: dict[str, Base] = {}
    return lambda kind: made.setdefault(kind, build_base(kind))


@pytest.fixture(scope="module")
def alone(bases: Callable[[str], Base], job_of: JobOf) -> Callable[[str, str], TrainResult]:
    """A function of a base's kind and a tenant to what it gets alone, by the plain path, unmixed and unpacked."""
    made: dict[tuple[str, str], TrainResult] = {}

    def train(kind: str, tenant: str) -> TrainResult:
        if (kind, tenant) not in made:
            base = bases(kind)
            with turn_off(*TRAINING):
                made[kind, tenant] = train_alone(base, job_of(base, tenant, **KINDS[kind][tenant]))
        return made[kind, tenant]

    return train


@pytest.mark.parametrize("kind", KINDS)
def test_every_tenant_ends_where_it_ends_alone(
    bases: Callable[[str], Base], alone: Callable[..., TrainResult], job_of: JobOf, check_same: Check, kind: str
) -> None:
    base = bases(kind)
    results = together(base, [job_of(base, tenant, **values) for tenant, values in KINDS[kind].items()])
    assert results.keys() == KINDS[kind].keys()
    for tenant, result in results.items():
        check_same(alone(kind, tenant), result)
    assert all(parameter.grad is None for parameter in base.model.parameters())
    steps = {tenant: result.steps for tenant, result in results.items()}
    assert (steps["long"], steps["empty"], steps["none"]) == (7, 0, 0)


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_company_order_and_passes_change_nothing(
    bases: Callable[[str], Base],
    alone: Callable[..., TrainResult],
    job_of: JobOf,
    check_same: Check,
    kind: str,
    data: st.DataObject,
) -> None:
    base = bases(kind)
    tenants = data.draw(st.lists(st.sampled_from(sorted(KINDS[kind])), min_size=1, max_size=6, unique=True))
    train_tokens = data.draw(st.sampled_from([1, 20, 60, 4096]))
    off = data.draw(st.sets(st.sampled_from(["packing", "fused_loss", "fused_attention"])))
    with turn_off(*off):
        jobs = [job_of(base, tenant, **KINDS[kind][tenant]) for tenant in tenants]
        results = together(base, jobs, train_tokens=train_tokens)
    assert sorted(results) == sorted(tenants)
    for tenant, result in results.items():
        check_same(alone(kind, tenant), result)


def test_checkpointed_tenants_share_passes_of_their_own(
    bases: Callable[[str], Base], alone: Callable[..., TrainResult], job_of: JobOf, check_same: Check
) -> None:
    base, names = bases("gpt2"), ["plain", "mlp", "prompt", "infix"]
    jobs = [job_of(base, name, **ALL[name], gradient_checkpointing=number > 0) for number, name in enumerate(names)]
    for tenant, result in together(base, jobs).items():
        check_same(alone("gpt2", tenant), result)


@pytest.mark.parametrize("method", ["full", "lora", "prefix+adapter"])
def test_methods_with_weights_of_their_own_run_between_the_others(
    bases: Callable[[str], Base], alone: Callable[..., TrainResult], job_of: JobOf, check_same: Check, method: str
) -> None:
    base = bases("gpt2")
    own = {"method": method, "adapter_size": 3, "lora_rank": 2, "learning_rate": 0.01}

    def jobs(*names: str) -> list[TrainingJob]:
        return [job_of(base, name, **ALL.get(name, own)) for name in names]

    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    results = together(base, jobs("plain", "own", "mlp", "other"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    for tenant in ("plain", "mlp"):
        check_same(alone("gpt2", tenant), results[tenant])
    for tenant in ("own", "other"):
        check_same(train_alone(base, *jobs(tenant)), results[tenant], 0.0)


def test_one_run_is_bit_by_bit_the_same_whenever_it_is_done(bases: Callable[[str], Base], job_of: JobOf) -> None:
    base = bases("llama")
    first, second = (
        together(base, [job_of(base, name, **ALL[name]) for name in ("mlp", "long", "prompt")]) for _ in range(2)
    )
    for tenant, result in first.items():
        pairs = zip(result.delta.tensors.values(), second[tenant].delta.tensors.values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
        assert result.curve == second[tenant].curve


@pytest.mark.parametrize("packing", [True, False])
def test_a_base_of_16_bits_trains_near_the_one_of_32(
    build_base: Callable[..., Base], alone: Callable[..., TrainResult], job_of: JobOf, packing: bool
) -> None:
    half = build_base("llama")
    half.model.to(torch.bfloat16)
    with turn_off_unless(packing=packing):
        results = together(half, [job_of(half, name, **ALL[name]) for name in ("plain", "mlp", "prompt")])
    for tenant, result in results.items():
        exact = alone("llama", tenant)
        assert all(tensor.dtype == torch.float32 for tensor in result.delta.tensors.values())
        losses = [[point.validation_loss for point in one.curve] for one in (exact, result)]
        assert losses[1] == pytest.approx(losses[0], rel=0.02), tenant


def test_a_base_that_mixes_neighbours_is_trained_padded(
    build_base: Callable[..., Base], job_of: JobOf, check_same: Check
) -> None:
    """Rows end to end would leak into each other there, so they are not laid so, whatever params say."""
    base, names = build_base("gpt2", seed=4), ("plain", "mlp", "joint")

    def mix(_block: Any, _args: Any, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + 0.1 * torch.nn.functional.pad(hidden[:, :-1], (0, 0, 1, 0))

    handle = base.model.transformer.h[0].register_forward_hook(mix)
    assert not is_packable(base.model)
    wide = together(base, [job_of(base, name, **ALL[name]) for name in names])
    for name in names:
        with turn_off("packing"):
            check_same(train_alone(base, job_of(base, name, **ALL[name])), wide[name])
        check_same(train_alone(base, job_of(base, name, **ALL[name]), EngineConfig(train_tokens=1)), wide[name])
    handle.remove()
