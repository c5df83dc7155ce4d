"""The learning rate of each step: a linear rise, then a linear fall to zero. Knows numbers only."""


def compute_learning_rate(step: int, *, peak: float, warmup_steps: int, max_steps: int) -> float:
    """The rate of the update that leads from `step` to `step + 1` updates, for 0 <= step < max_steps.

    The first update has peak / warmup_steps, update number `warmup_steps` has the peak, the last one is the smallest
    of the fall and above zero.
    """
    warmup = min(warmup_steps, max_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (max_steps - step) / (max_steps - warmup)
