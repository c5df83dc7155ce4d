"""A base without weights encodes texts and checks artifacts as the whole base does."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.load import load_base
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.remote.weightless_base import load_weightless_base


def test_it_has_the_digests_shapes_and_ids_of_the_whole_base(tiny_base: Path) -> None:
    config = BaseConfig(path=str(tiny_base))
    whole, bare = load_base(config), load_weightless_base(config)
    assert {tensor.device.type for tensor in bare.model.parameters()} == {"meta"}
    assert (bare.digest, bare.tokenizer_digest, bare.context) == (whole.digest, whole.tokenizer_digest, whole.context)
    assert bare.shape == whole.shape
    assert bare.text_codec.encode_sources(["name Loch Fyne"], None) == whole.text_codec.encode_sources(
        ["name Loch Fyne"], None
    )


def test_a_base_that_is_quantised_while_it_is_loaded_is_refused(tiny_base: Path) -> None:
    with pytest.raises(BaseModelError, match="torchao-int8"):
        load_weightless_base(BaseConfig(path=str(tiny_base), quantize="torchao-int8"))


def test_verified_artifacts_take_the_same_little_memory_whatever_their_size(
    tiny_base: Path, make_store: Any, make_prefix: Any, tmp_path: Path
) -> None:
    bare = load_weightless_base(BaseConfig(path=str(tiny_base)))
    whole = load_base(BaseConfig(path=str(tiny_base)))
    store, sizes = make_store(whole), set()
    cache = ArtifactCache(bare, store, tmp_path / "cache")
    for length in (1, 40):
        artifact = store.add(f"tenant-{length}", make_prefix(whole, length))
        sizes.add(asyncio.run(cache.acquire(artifact)).size_bytes)
    cache.close()
    (size,) = sizes
    assert 0 < size < 100_000
