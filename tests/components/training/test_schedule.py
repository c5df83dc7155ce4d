from hypothesis import given
from hypothesis import strategies as st

from components.training.schedule import compute_learning_rate


def test_rises_then_falls() -> None:
    rates = [compute_learning_rate(step, peak=8.0, warmup_steps=4, max_steps=8) for step in range(8)]
    assert rates == [2.0, 4.0, 6.0, 8.0, 8.0, 6.0, 4.0, 2.0]


@given(st.integers(1, 500), st.integers(0, 600), st.floats(1e-6, 1.0))
def test_always_above_zero_and_at_most_the_peak(max_steps: int, warmup_steps: int, peak: float) -> None:
    rates = [
        compute_learning_rate(step, peak=peak, warmup_steps=warmup_steps, max_steps=max_steps)
        for step in range(max_steps)
    ]
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    assert max(rates) >= peak * (1 - 1e-9)
