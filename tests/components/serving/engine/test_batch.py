"""A row in a batch has the same answer as alone."""

import asyncio
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from components.config import Method, TrainConfig
from components.model.base.load import Base
from components.model.delta import Delta, make_delta_from_tensors
from components.model.trainable_delta import TrainableDelta
from components.serving.interface import GenerationRequest, TokenControls

RECENT = ("gemma2", "gpt_oss", "llama4_text", "gemma3n_text", "gemma4_text", "qwen3_next")
PAIRS = (("ab", "it is a"), ("cd", "it is c"))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt", "gpt_neox", "bart", "t5", *RECENT])
def test_greedy_rows_of_many_tenants_have_the_same_answers_as_alone(
    kind: str, build_base: Any, make_tenants: Any, answer_all: Any, sources: tuple[str, ...]
) -> None:
    tenants = make_tenants(build_base(kind))
    requests = [
        GenerationRequest(artifact, source, max_tokens=4 + 3 * number)
        for number, source in enumerate(sources)
        for artifact in tenants.artifacts
    ]
    answers = answer_all(tenants, requests, rows=7, step_tokens=24)
    assert answers == [tenants.answer_alone(request) for request in requests]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("gpt2", {"temperature": 0.8, "seed": 3}),
        ("bart", {"temperature": 1.3, "top_p": 0.7, "seed": 5, "sample_index": 2}),
        ("bart", {"guidance": 2.5}),
        ("gpt2", {"guidance": 0.0}),
        ("gpt2", {"guidance": 0.4, "temperature": 0.5}),
        ("gpt2", {"stop": ("ob2", "oo2", "L", "11")}),
        ("bart", {"stop": ("ob2", "oo2", "L", "11")}),
        ("bart", {"controls": TokenControls(min_new_tokens=9, repetition_penalty=1.4, banned=("o", "2b"))}),
        ("gpt2", {"controls": TokenControls(no_repeat_ngram=2), "temperature": 0.9, "top_k": 4}),
        ("gpt2", {"num_beams": 3}),
        ("bart", {"num_beams": 2, "length_penalty": 0.3, "guidance": 1.8}),
        *(
            (kind, {"num_beams": 4, "controls": TokenControls(min_new_tokens=5, no_repeat_ngram=2, banned=("o", "2b"))})
            for kind in ("gpt2", "bart")
        ),
    ],
    ids=str,
)
def test_each_row_has_settings_of_its_own(
    kind: str,
    settings: dict[str, Any],
    build_base: Any,
    make_tenants: Any,
    answer_all: Any,
    sources: tuple[str, ...],
) -> None:
    tenants = make_tenants(build_base(kind))
    plain = [
        GenerationRequest(artifact, source, max_tokens=12)
        for artifact, source in zip(tenants.artifacts, sources, strict=True)
    ]
    requests = [request for one in plain for request in (one, replace(one, **settings))]
    answers = answer_all(tenants, requests, rows=9, step_tokens=20)
    assert answers == [tenants.answer_alone(request) for request in requests]
    assert answers[::2] != answers[1::2]


def _noisy(base: Base, config: TrainConfig) -> Delta:
    """A delta of a method: the start of training, which often changes nothing, with added noise."""
    tensors = TrainableDelta(base, config, "a b c", None, PAIRS).collapse().tensors
    if config.method == "in-context":
        return make_delta_from_tensors(config.method, tensors, config)
    torch.manual_seed(len(config.method))
    noisy = {name: tensor + 0.2 * torch.randn_like(tensor) for name, tensor in tensors.items()}
    return make_delta_from_tensors(config.method, noisy, config)


def test_tenants_of_all_methods_share_the_engine(
    build_base: Any, make_tenants: Any, answer_all: Any, sources: tuple[str, ...]
) -> None:
    base = build_base("gpt2")
    configs = [
        TrainConfig.model_validate(
            {"method": method, "prefix_length": 3, "adapter_size": 2, "lora_rank": 2, "top_layers": 1}
        )
        for method in get_args(Method)
    ]
    tenants = make_tenants(base, [_noisy(base, config) for config in configs], configs)
    requests = [
        GenerationRequest(artifact, source, max_tokens=6, guidance=guidance)
        for artifact in tenants.artifacts
        for source, guidance in zip(sources[:3], (1.0, 1.7, 1.0), strict=True)
    ]
    answers = answer_all(tenants, requests, rows=12, step_tokens=40)
    for request, answer, config in zip(requests, answers, [one for one in configs for _ in range(3)], strict=True):
        assert answer == tenants.answer_alone(request), config.method


ROWS = st.lists(
    st.tuples(
        st.integers(0, 4),  # tenant
        st.integers(0, 4),  # source
        st.integers(1, 14),  # limit
        st.sampled_from([0.0, 0.0, 0.9]),  # temperature
        st.sampled_from([1.0, 1.0, 1.8]),  # guidance
        st.sampled_from([1, 1, 1, 3]),  # beams, if there is no temperature
        st.sampled_from([(), ("a", "2"), ("LL",)]),  # stop strings
        st.integers(0, 3),  # delay before it is submitted
        st.sampled_from([None, None, 0, 1, 2]),  # pieces after which it is cancelled
    ),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ROWS, max_rows=st.integers(6, 9), step_tokens=st.integers(1, 40))
def test_rows_that_enter_and_leave_at_any_time_have_the_same_answers_as_alone(
    rows: Any, max_rows: int, step_tokens: int, tenants: Any, running: Any, join_pieces: Any, sources: Any
) -> None:
    async def one(engine: Any, row: Any) -> tuple[GenerationRequest, Any]:
        tenant, source, limit, temperature, guidance, beams, stop, wait, cancel_after = row
        request = GenerationRequest(
            tenants.artifacts[tenant],
            sources[source],
            max_tokens=limit,
            temperature=temperature,
            guidance=guidance,
            num_beams=1 if temperature else beams,
            stop=stop,
            seed=source,
        )
        await asyncio.sleep(wait * 0.004)
        pieces = []
        async for piece in (await engine.submit([request]))[0]:
            pieces.append(piece)
            if len(pieces) == cancel_after:
                break
        return request, pieces

    async def serve() -> Any:
        async with running(tenants, rows=max_rows, step_tokens=step_tokens) as engine:
            return await asyncio.gather(*(one(engine, row) for row in rows))

    for request, pieces in asyncio.run(serve()):
        text, finish = tenants.answer_alone(request)
        if pieces[-1].finish:
            assert join_pieces(pieces) == (text, finish)
        else:
            assert text.startswith("".join(piece.text for piece in pieces))
