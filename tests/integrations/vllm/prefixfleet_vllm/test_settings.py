from typing import Any

import pytest
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.settings import parse_settings


def test_defaults() -> None:
    settings = parse_settings({"stores": ["/artifacts"], "resident_mb": 2})
    assert (settings.resident_bytes, settings.serve_base, settings.load_threads) == (2 << 20, False, 4)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "no stores"),
        ({"stores": []}, "stores"),
        ({"stores": ["/a"], "resident_mb": 0}, "resident_mb = 0"),
        ({"stores": ["/a"], "store": "/b"}, "store = '/b'.*keys: stores, resident_mb"),
        ({"stores": ["/a"], "base_digest": "x"}, "base_digest"),
        ({"stores": ["/a"], "serve_base": "yes"}, "serve_base"),
    ],
)
def test_an_unknown_key_or_impossible_value_is_named(values: dict[str, Any], text: str) -> None:
    with pytest.raises(PluginError, match=text) as refused:
        parse_settings(values)
    assert refused.value.kind == "setup"
