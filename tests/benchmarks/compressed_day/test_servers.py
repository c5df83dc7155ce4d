"""Growth of memory over a day: a leak grows in every minute, a step does not count."""

import pytest


class _Server:
    name = "server-1"


@pytest.mark.parametrize(
    ("sizes_mb", "growth_mb"),
    [([100, 109, 118, 127, 136, 145], 9.0), ([100, 100, 100, 180, 180, 180], 0.0), ([200, 190, 190, 190, 195], 0.0)],
    ids=["leak", "step", "at rest"],
)
def test_growth_is_the_median_of_the_minutes(sizes_mb: list[int], growth_mb: float) -> None:
    from compressed_day.servers import MemoryWatch

    watch = MemoryWatch([])
    watch._samples[_Server.name, 1] = [(30.0 * half, 10**6 * sizes_mb[half // 2]) for half in range(2 * len(sizes_mb))]
    ((end_mb, growth, minutes),) = watch.measure_slopes(0.0, 60.0).values()
    assert (end_mb, growth, minutes) == (sizes_mb[-1], growth_mb, len(sizes_mb) - 0.5)
