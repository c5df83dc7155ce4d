from components.serving.engine.throughput import Throughput


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_estimate_follows_the_time_between_finished_rows_without_pauses() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    assert throughput.estimate_seconds(5) == 0.1, "nothing is known: the minimum"
    for _ in range(3):
        clock.now_s += 2.0
        throughput.record_completion()
    assert throughput.estimate_seconds(5) == 10.0
    clock.now_s += 1000.0
    throughput.restart_clock()
    clock.now_s += 2.0
    throughput.record_completion()
    assert abs(throughput.estimate_seconds(5) - 10.0) < 1e-9
    assert throughput.estimate_seconds(1000) == 60.0, "the maximum"
