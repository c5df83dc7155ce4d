"""A base without weights encodes texts and checks artifacts as the whole base does."""

from pathlib import Path

import pytest

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.load import load_base
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
