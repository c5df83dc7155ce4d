"""Admission of jobs to a shard: which jobs can share passes, which examples fit, and the errors for those that do not.

Knows jobs and the base; does not know which jobs are in training.
"""

from collections.abc import Sequence

import numpy as np

from components.data.pairs import TokenizedPair, TokenizedPairs, count_pair_tokens
from components.errors import TrainingError
from components.model.base.load import Base
from components.model.base.token_limits import count_token_rows
from components.training.run import TrainingJob


def find_pass_group(job: TrainingJob) -> tuple[bool, bool] | None:
    """Return the key of the jobs that can share passes; None for a job that must run alone."""
    if job.module.weights is not None:
        return None
    return job.config.method == "infix", job.config.gradient_checkpointing


def estimate_step_tokens(job: TrainingJob) -> float:
    """Return the mean number of source and target tokens in one optimizer step of the job."""
    return job.config.batch_size * float(count_pair_tokens(job.train).sum()) / len(job.train)


def check_examples(base: Base, job: TrainingJob) -> None:
    """Check that both splits have examples, that the longest fit the base's context, and that it knows all ids.

    Raises:
        TrainingError: they do not.
    """
    slots = 0 if base.is_encoder_decoder else job.module.make_delta().length
    for name, pairs in (("train", job.train), ("validation", job.validation)):
        if not pairs:
            raise TrainingError(f"examples in the {name} split", "none", f"deliver a drop with {name}.jsonl")
        _check_ids(base, pairs, name)
        sizes_R2 = count_pair_tokens(pairs)
        longest = int((sizes_R2 if base.is_encoder_decoder else sizes_R2.sum(axis=1)).max())
        if longest + slots > base.context:
            wanted = f"prefix, source and target within the base's context of {base.context} tokens"
            got = f"a prefix of {slots} and a {name} example of {longest}"
            raise TrainingError(
                wanted, got, "set train.max_source_tokens to cut sources, or a smaller train.prefix_length"
            )


def _check_ids(base: Base, pairs: Sequence[TokenizedPair], name: str) -> None:
    rows = count_token_rows(base.model)
    ids = (
        pairs.ids_N
        if isinstance(pairs, TokenizedPairs)
        else [number for one in pairs for number in (*one.source_ids, *one.target_ids)]
    )
    lowest, highest = int(np.min(ids, initial=0)), int(np.max(ids, initial=0))
    if lowest < 0 or highest >= rows:
        got = f"id {lowest if lowest < 0 else highest} in the {name} split"
        fix = "use the tokenizer that the model was made with; delete the tenant's folder in var/tokens"
        raise TrainingError(f"token ids from 0 to {rows - 1}, the rows of the model", got, fix)


def make_example_too_large_error(tokens: int) -> TrainingError:
    """Return the error for an example that does not fit in memory even as the only row of a pass."""
    fix = "set train.gradient_checkpointing, cut sources with train.max_source_tokens, or use a larger machine"
    return TrainingError("memory for one example", f"too little for its {tokens} tokens", fix)


def make_tenant_too_large_error(job: TrainingJob) -> TrainingError:
    """Return the error for a tenant whose parameters and optimizer state do not fit in memory."""
    values = sum(parameter.numel() for parameter in job.module.parameters())
    fix = "set engine.memory_gb lower and run again (training resumes from its saved state), or train fewer parameters"
    return TrainingError("memory for a tenant's own tensors", f"too little for its {values:,} trained values", fix)
