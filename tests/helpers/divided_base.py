"""What a base computes: losses, gradients, slots and texts; in one process, or divided among those of torchrun.

    torchrun --nproc-per-node 2 divided_base.py OUTPUT CONFIGS

CONFIGS is a JSON list of sections `base`. Rank 0 writes the results, or the error, of each to OUTPUT; of the last one
only the memory that it takes. Then rank 1 ends in an operation.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from memory_growth import measure_growth

from components.config import BaseConfig, EngineConfig, TrainConfig
from components.data.pairs import TokenizedPair
from components.errors import PrefixFleetError
from components.model.base.checkpointing import checkpoint_blocks
from components.model.base.load import Base, describe_base, load_base
from components.model.base.quantization import list_stored_tensors
from components.model.decoding import Decoding, generate_text
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix, make_token_prefix
from components.model.prefix.prefix import Prefix
from components.model.ranks import gather_from_ranks, get_rank, join_ranks, run_on_all_ranks
from components.model.trainable_delta import TrainableDelta
from components.training.distributed import open_pass_runner
from components.training.distributed.passes import PassRunner
from components.training.memory import MemoryBudget
from components.training.objective import StepDeltas, TrainingExample

PAIRS = [TokenizedPair((5, 6, 7), (8, 9, 0)), TokenizedPair((10,), (12, 0)), TokenizedPair((4,) * 9, (7, 3, 5, 0))]
SOURCES = ["abc", "de", "fghijklm", "n"]
METHODS = ("lora", "adapter", "full", "top-k", "prefix+lora", "embedding")
DECODINGS = {
    "greedy": Decoding(max_new_tokens=8),
    "beams": Decoding(max_new_tokens=8, num_beams=3),
    "guided": Decoding(max_new_tokens=8, guidance=1.5),
}


def make_prefixes(base: Base) -> list[Prefix]:
    """Two prefixes of different lengths, with gradients."""
    prefixes = [make_random_prefix(base.shape, length, length, scale=0.5) for length in (3, 1)]
    for prefix in prefixes:
        for tensor in prefix.tensors.values():
            tensor.requires_grad_()
    return prefixes


def run_passes(base: Base, runner: PassRunner, prefixes: list[Prefix]) -> list[float]:
    """Run the rows of two tenants in passes of few tokens, and add the gradients to the prefixes."""
    rows = [TrainingExample(number % 2, pair) for number, pair in enumerate(PAIRS)]
    deltas = StepDeltas(base, [Delta(prefix=prefix) for prefix in prefixes])
    nats_U = runner.run_passes(deltas, rows, 12, train=True, checkpointing=False).nats_U
    deltas.propagate_gradients()
    return nats_U.tolist()


def compute(config: BaseConfig) -> dict[str, Any]:
    """Return everything that is compared."""
    base = load_base(config)
    prefixes = make_prefixes(base)
    tensors = [tensor for prefix in prefixes for tensor in prefix.tensors.values()]
    with open_pass_runner(base, config, EngineConfig()) as runner:
        nats_U = run_passes(base, runner, prefixes)
        gradients = [tensor.grad for tensor in tensors]
        for tensor in tensors:
            tensor.grad = None
        with checkpoint_blocks(base.model):
            nats_U += run_passes(base, runner, prefixes)
        bare, rows = StepDeltas(base, [Delta()]), [TrainingExample(0, pair) for pair in PAIRS]
        nats_U += runner.run_passes(bare, rows, 100, train=False, checkpointing=False).nats_U.tolist()
    delta = Delta(prefix=prefixes[0])
    texts = {name: generate_text(base, delta, SOURCES, decoding, 3) for name, decoding in DECODINGS.items()}
    infix = Delta(prefix=make_random_prefix(base.shape, 2, 5, scale=0.5).to_infix())
    return {
        "facts": describe_base(base),
        "nats_U": nats_U,
        "gradients": gradients,
        "gradients with checkpointing": [tensor.grad for tensor in tensors],
        "slots of tokens": list(make_token_prefix(base, [5, 6, 7]).tensors.values()),
        "texts": texts | {"infix": generate_text(base, infix, SOURCES, DECODINGS["greedy"], 3)},
        "pass tokens": MemoryBudget.estimate(base, EngineConfig(memory_gb=1)).pass_tokens,
    }


def measure_load(config: BaseConfig) -> list[tuple[int, int]]:
    """Return, for every rank, the most by which loading grew its memory, and the bytes of the weights that it holds."""
    base, grown = measure_growth(lambda: load_base(config))
    held = sum(part.nbytes for weight in base.model.parameters() for part in list_stored_tensors(weight))
    return gather_from_ranks((grown, held))


def end_rank_1() -> None:
    """End rank 1 at once."""
    if get_rank():
        os._exit(7)


def list_problems(config: BaseConfig) -> dict[str, str]:
    """Return what is refused on a divided base, with the error."""
    base = load_base(config)
    ids_BT = torch.zeros(1, 2, dtype=torch.long)
    prompt = Delta(prompt_PW=torch.zeros(2, base.model.config.hidden_size))

    def train(method: str) -> None:
        TrainableDelta(base, TrainConfig(method=method, prefix_length=2), "abc", None, [("a", "b")])  # type: ignore[arg-type]

    def train_in_processes() -> None:
        with open_pass_runner(base, config, EngineConfig(processes=2)):
            pass

    actions: dict[str, Callable[[], Any]] = {method: partial(train, method) for method in METHODS}
    actions |= {
        "processes": train_in_processes,
        "soft prompt": lambda: prompt.check_fits(base),
        "forward": lambda: base.model(input_ids=ids_BT),
        "embeddings": lambda: base.model.get_input_embeddings()(ids_BT),
    }
    return {name: catch(action) for name, action in actions.items()}


def catch(action: Callable[[], Any]) -> str:
    """Return the error of an action; "" if it has none."""
    try:
        action()
    except PrefixFleetError as problem:
        return str(problem)
    return ""


def main(output: str, configs: str) -> None:
    """Compute with all bases, in rank 0."""
    results: dict[str, Any] = {"bases": []}
    with join_ranks() as is_first:
        if not is_first:
            return
        sections = [BaseConfig(**one) for one in json.loads(Path(configs).read_text(encoding="utf-8"))]
        for config in sections[:-1]:
            try:
                results["bases"].append(compute(config))
            except PrefixFleetError as problem:
                results["bases"].append(str(problem))
        results["problems"] = list_problems(sections[0])
        results["memory"] = run_on_all_ranks(measure_load, sections[-1])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it as soon as it sees that rank 1 has ended
        run_on_all_ranks(end_rank_1)
        results["end"] = [catch(lambda: load_base(sections[0])) for _ in range(2)]
        torch.save(results, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
