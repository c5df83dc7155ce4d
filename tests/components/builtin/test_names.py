from random import Random

import pytest

from components.builtin.names import VALUE_GENERATORS, make_value


@pytest.mark.parametrize("kind", VALUE_GENERATORS)
def test_values_are_reproducible_and_varied(kind):
    values = [make_value(kind, Random(seed)) for seed in range(50)]
    assert values == [make_value(kind, Random(seed)) for seed in range(50)]
    assert len(set(values)) > 10
    assert all(value.strip() == value != "" for value in values)
