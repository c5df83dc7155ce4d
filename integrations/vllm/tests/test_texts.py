"""The texts of many tenants in one batch are those of transformers with each tenant's prefix as a prefilled cache."""

from collections.abc import Callable

import pytest
from engines import Served, make_ids
from tiny_models import Model

LENGTHS = (1, 5, 10, 31, 32, 33, 40, 64, 65, 100)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def served(request: pytest.FixtureRequest, make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> Served:
    return start(make_tiny(request.param))


def test_32_tenants_and_the_base_in_one_batch(served: Served) -> None:
    artifacts = [served.write(LENGTHS[number % len(LENGTHS)], number) for number in range(32)]
    asked = [served.ask(one, make_ids(3 + 5 * (number % 8), number)) for number, one in enumerate(artifacts)]
    served.check(*asked, served.ask(None, make_ids(40, 99)))


def test_the_same_prompt_under_two_tenants_and_the_base_one_after_another_and_together(served: Served) -> None:
    first, second = served.write(33, 101), served.write(33, 102)
    ids = make_ids(40, 1)
    asked = [served.ask(first, ids), served.ask(second, ids), served.ask(None, [7] * 33 + ids)]
    for one in asked:
        served.check(one)
    served.check(*asked, *reversed(asked))


@pytest.mark.parametrize("length", [5, 31, 32, 33, 64])
def test_repeated_requests_reuse_cached_blocks(served: Served, length: int) -> None:
    artifact = served.write(length, 200 + length)
    for tail in (40, 40, 70, 33):
        served.check(served.ask(artifact, make_ids(tail, 2)))
