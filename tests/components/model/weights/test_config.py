"""Values out of range are refused before a model is loaded."""

from typing import Any

import pytest

from components.errors import ConfigError
from components.model.weights import WeightsConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "prefix"}, "full, top-k, adapter or lora"),
        ({"kind": "top-k", "top_layers": 0}, "top_layers above 0"),
        ({"kind": "adapter"}, "got neither"),
        ({"kind": "adapter", "adapter_size": 4, "adapter_share": 0.1}, "got both"),
        ({"kind": "adapter", "adapter_share": 0.0}, "adapter_share above 0"),
        ({"kind": "adapter", "adapter_share": float("nan")}, "adapter_share above 0"),
        ({"kind": "lora", "lora_rank": -1}, "lora_rank above 0"),
        ({"kind": "lora", "lora_targets": ()}, "names of layers"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WeightsConfig(**values)


def test_fields_of_other_methods_are_ignored() -> None:
    assert WeightsConfig(kind="full", top_layers=0, lora_rank=0).adapter_size is None
