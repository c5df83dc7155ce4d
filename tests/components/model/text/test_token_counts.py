"""Counting tokens without the base."""

from pathlib import Path

import pytest
from tokenizer_kinds import KINDS, make_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers

from components.model.text.running_text import find_running_text
from components.model.text.texts import TextCodec
from components.model.text.token_counts import open_token_counter


def write_base(folder: Path, config: str = '{"n_positions": 32}') -> Path:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(config)
    return folder


def test_lengths_have_the_end_of_text_and_unknown_tokens_are_a_share(tmp_path: Path) -> None:
    counter = open_token_counter(write_base(tmp_path))
    assert counter is not None
    assert (counter.context, counter.separate_contexts) == (32, False)
    lengths = counter.measure([("a b a", "b"), ("a", "a b"), ("a", "x")], None)
    assert (lengths.longest_source, lengths.longest_target, lengths.longest_pair) == (4, 3, 6)
    assert (lengths.unknown_share, lengths.unknown_texts) == (1 / 9, ("x",))
    assert counter.measure([("a b a", "b")], 1).longest_source == 2


def test_an_encoder_decoder_base_has_two_contexts_and_a_broken_one_cannot_be_read(tmp_path: Path) -> None:
    counter = open_token_counter(write_base(tmp_path, '{"is_encoder_decoder": true}'))
    assert counter is not None
    assert (counter.context, counter.separate_contexts) == (None, True)
    for name, content in (("config.json", "[]"), ("config.json", "{"), ("tokenizer.json", "{}")):
        (tmp_path / name).write_text(content)
        assert open_token_counter(tmp_path) is None


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_and_unknown_tokens_are_those_of_training(kind: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(kind)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    counter, codec = open_token_counter(tmp_path), TextCodec(tokenizer)
    assert counter is not None
    assert counter.running_text == find_running_text(tokenizer)
    pairs = [("the cat sat", "on 寿司"), ("blue", "a mat (now)")]
    lengths = counter.measure(pairs, None)
    sources = codec.encode_sources([source for source, _ in pairs])
    targets = codec.encode_targets([target for _, target in pairs])
    assert lengths.longest_source == max(map(len, sources))
    assert lengths.longest_target == max(map(len, targets))
    unknown = sum(ids.count(codec.unknown_id or -1) for ids in [*sources, *targets])
    assert bool(lengths.unknown_share) == bool(unknown) == kind.startswith(("metaspace", "word"))
    assert lengths.unknown_texts == (("on 寿司",) if unknown else ())
