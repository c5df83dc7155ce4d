"""Guidance of every kind of delta, against its formula in a loop without a cache and in a plain beam search."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.model.delta import Delta, apply_deltas
from components.model.prefix.prefix import Prefix
from components.model.weights import WeightsConfig, make_trainable_weights

KINDS = ("gpt2", "llama", "bart", "t5")
METHODS = ("prefix", "full", "adapter", "lora", "prefix+adapter", "prefix+lora")
EOS, NEW = 0, 6


@pytest.fixture(scope="module", params=KINDS)
def base(request: pytest.FixtureRequest, build_base: Callable[..., Base]) -> Base:
    return build_base(request.param, 3)


@pytest.fixture(scope="session")
def delta_of(values_for: Callable[..., Prefix]) -> Callable[..., Delta]:
    """A function from a base, method and seed to a delta that changes every logit."""

    def make(base: Base, method: str, seed: int = 0) -> Delta:
        prefix = values_for(base.model, 3 + seed, seed) if method.startswith("prefix") else None
        kind: Any = method.rpartition("+")[2]
        if kind == "prefix":
            return Delta(prefix=prefix)
        trained = make_trainable_weights(base.model, WeightsConfig(kind=kind, adapter_size=4, lora_rank=3, seed=seed))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return Delta(prefix=prefix, weights=trained.collapse())

    return make


@pytest.mark.parametrize(("method", "guidance"), [("prefix", 0.5), *((method, 2.0) for method in METHODS)])
def test_greedy_follows_the_formula(
    base: Base, method: str, guidance: float, delta_of: Any, greedy: Any, next_logits: Any, some_sources: Any
) -> None:
    delta, sources = delta_of(base, method), some_sources(1, 9)

    def mixed(base: Base, row: Any, source: list[int], new: list[int]) -> torch.Tensor:
        bare = next_logits(base, None, source, new).log_softmax(-1)
        logits: torch.Tensor = bare + guidance * (next_logits(base, row, source, new).log_softmax(-1) - bare)
        return logits

    decoding = Decoding(max_new_tokens=NEW, guidance=guidance)
    outputs = generate_each(base, [delta], sources, decoding, 2)
    assert outputs == [greedy(base, delta, source, NEW, mixed) for source in sources]


@pytest.mark.parametrize(("method", "beams"), [("prefix", 3), ("lora", 1), ("prefix+adapter", 3)])
def test_guidance_0_is_the_base_and_1_is_the_delta(
    base: Base, method: str, beams: int, delta_of: Any, some_sources: Any
) -> None:
    rows, sources = [delta_of(base, method), None, delta_of(base, method, 1)], some_sources(3, 9)

    def run(rows: Any, **options: float) -> list[list[int]]:
        return generate_each(base, rows, sources, Decoding(beams, NEW, **options), 3)  # type: ignore[arg-type]

    assert run(rows, guidance=0.0) == run([None] * 3)
    assert run(rows, guidance=1.0) == run(rows)
    assert run(rows) != run([None] * 3)
    assert run(rows, guidance=1e-7) == run([None] * 3)


@pytest.mark.parametrize("method", ["prefix", "prefix+lora"])
def test_beams_follow_the_formula(base: Base, method: str, delta_of: Any, next_logits: Any, some_sources: Any) -> None:
    """Against a beam search in plain Python that keeps every finished text."""
    delta, sources, beams, length = delta_of(base, method), some_sources(2, 9), 3, 5

    def scores(source: list[int], new: list[int]) -> torch.Tensor:
        bare, own = (next_logits(base, row, source, new) for row in (None, delta))
        logits: torch.Tensor = (bare + 2.0 * (own - bare)).log_softmax(-1)
        return logits

    decoding = Decoding(beams, length, guidance=2.0, length_penalty=1.0)
    outputs = generate_each(base, [delta] * 2, sources, decoding, 2)
    assert outputs == [plain_beams(lambda new, source=source: scores(source, new), beams, length) for source in sources]


def plain_beams(scores: Callable[[list[int]], torch.Tensor], beams: int, length: int) -> list[int]:
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for step in range(1, length + 1):
        grown = []
        for score, new in running:
            token_scores = scores(new).tolist()
            grown += [(score + one, [*new, token]) for token, one in enumerate(token_scores)]
        grown.sort(key=lambda one: -one[0])
        for score, new in grown[:beams]:
            if new[-1] == EOS or step == length:
                finished.append((score / step, new))
        finished = sorted(finished, key=lambda one: -one[0])[:beams]
        running = [one for one in grown[: 2 * beams] if one[1][-1] != EOS][:beams]
        if len(finished) == beams and running[0][0] / step <= finished[-1][0]:
            break
    best = finished[0][1]
    return best[: best.index(EOS)] if EOS in best else best


def test_the_model_does_not_change(base: Base, delta_of: Any, some_sources: Any) -> None:
    sources = some_sources(3, 9)
    before = generate_each(base, [None] * 3, sources, Decoding(1, NEW), 3)
    rows = [delta_of(base, method) for method in ("prefix+adapter", "lora", "prefix")]
    generate_each(base, rows, sources, Decoding(2, NEW, guidance=3.0), 3)
    assert generate_each(base, [None] * 3, sources, Decoding(1, NEW), 3) == before
    ids: dict[str, Any] = {"input_ids": torch.tensor([[5, 6, 7]])}
    if base.is_encoder_decoder:
        ids["decoder_input_ids"] = ids["input_ids"]
    bare = base.model(**ids).logits
    with apply_deltas(base, [None]):
        assert torch.equal(base.model(**ids).logits, bare)
