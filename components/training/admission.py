"""Who may be in a shard: which jobs share passes, whose examples can be trained on, what is too large for a machine.

Knows jobs and the base; does not know who is in training.
"""

from components.data.pairs import count_pair_tokens
from components.errors import TrainingError
from components.model.base.load import Base
from components.training.run import TrainingJob


def find_pass_group(job: TrainingJob) -> tuple[bool, bool] | None:
    """Jobs of one kind share passes; None shares with nobody."""
    if job.module.weights is not None:
        return None
    return job.config.method == "infix", job.config.gradient_checkpointing


def estimate_step_tokens(job: TrainingJob) -> float:
    """Tokens of a job's step, on average."""
    return job.config.batch_size * float(count_pair_tokens(job.train).sum()) / len(job.train)


def check_examples(base: Base, job: TrainingJob) -> None:
    """Refuse a job without examples, or with one that does not fit the context. Raises TrainingError."""
    slots = 0 if base.is_encoder_decoder else job.module.make_delta().length
    for name, pairs in (("train", job.train), ("validation", job.validation)):
        if not pairs:
            raise TrainingError(f"examples in the {name} split", "none", f"deliver a drop with {name}.jsonl")
        sizes_R2 = count_pair_tokens(pairs)
        longest = int((sizes_R2 if base.is_encoder_decoder else sizes_R2.sum(axis=1)).max())
        if longest + slots > base.context:
            wanted = f"prefix, source and target within the base's context of {base.context} tokens"
            got = f"a prefix of {slots} and a {name} example of {longest}"
            raise TrainingError(wanted, got, "set train.max_source_tokens or a smaller train.prefix_length")


def make_example_too_large_error(tokens: int) -> TrainingError:
    """Not even one example fits into a pass."""
    fix = "set train.gradient_checkpointing or train.max_source_tokens, or train on a larger machine"
    return TrainingError("memory for one example", f"too little for its {tokens} tokens", fix)


def make_tenant_too_large_error(job: TrainingJob) -> TrainingError:
    """What one tenant trains does not fit beside the base and the others."""
    values = sum(parameter.numel() for parameter in job.module.parameters())
    fix = (
        "run again with a lower engine.memory_gb (training goes on where it was saved), or set a smaller train section"
    )
    return TrainingError("memory for a tenant's own tensors", f"too little for its {values:,} trained values", fix)
