import pytest

from components.config.serve import AccessConfig
from components.serving.errors import RefusalError
from components.serving.http.quotas import Quotas


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def make_quotas(clock, **access):
    return Quotas(lambda tenant: AccessConfig(**access if tenant == "alder" else {}), clock)


def test_without_limits_every_request_is_admitted(clock):
    quotas = make_quotas(clock)
    for _ in range(1000):
        quotas.admit("alder", 10**6)


def test_requests_beyond_the_quota_are_refused_and_another_tenants_are_not(clock):
    quotas = make_quotas(clock, requests_per_minute=3)
    for _ in range(3):
        clock.now_s += 0.01
        quotas.admit("alder", 1)
    with pytest.raises(RefusalError, match="at most 3 requests per minute of alder") as refused:
        quotas.admit("alder", 1)
    assert refused.value.status == 429
    assert refused.value.retry_after == pytest.approx(20, abs=0.1)
    quotas.admit("birch", 1)
    clock.now_s += refused.value.retry_after + 0.001
    quotas.admit("alder", 1)
    with pytest.raises(RefusalError):
        quotas.admit("alder", 1)


def test_tokens_are_reserved_and_unused_ones_given_back(clock):
    quotas = make_quotas(clock, tokens_per_minute=100)
    quotas.admit("alder", 90)
    with pytest.raises(RefusalError, match="tokens"):
        quotas.admit("alder", 20)
    quotas.settle("alder", 90, 10)
    quotas.admit("alder", 20)


def test_a_request_for_more_tokens_than_the_quota_needs_a_full_bucket_and_overdraws_it(clock):
    quotas = make_quotas(clock, tokens_per_minute=60)
    quotas.admit("alder", 180)
    clock.now_s += 179
    with pytest.raises(RefusalError) as refused:
        quotas.admit("alder", 60)
    assert refused.value.retry_after == pytest.approx(1, abs=0.01)


def test_a_refused_request_takes_nothing(clock):
    quotas = make_quotas(clock, requests_per_minute=2, tokens_per_minute=10)
    quotas.admit("alder", 10)
    for _ in range(5):
        with pytest.raises(RefusalError, match="tokens"):
            quotas.admit("alder", 10)
    quotas.settle("alder", 10, 0)
    quotas.admit("alder", 10)
