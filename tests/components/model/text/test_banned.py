"""Banned texts, against decoding every possible next token, with tokenizers of four kinds."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.model.decoding.controls import DecodingControls, LogitsController
from components.model.text.banned import BannedTexts, get_banned_texts, read_token_bytes

EOS = 0
CORPUS = [
    "The Blue Spice is a cheap coffee shop near the river.",
    "a cheap cheap shop, a Café naïve über alles 日本語 日本",
    "anna ananas banana bandana\nab abab ababab aabab",
] * 4


def trained(kind: str) -> Any:
    """A small tokenizer: byte-level BPE, BPE with byte fallback (Llama), WordPiece (BERT) or unigram (T5)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<eos>", "<pad>"]
    if kind == "byte-level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(vocab_size=360, special_tokens=special, initial_alphabet=alphabet)
    elif kind == "byte-fallback":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<eos>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(steps)
        named = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=[*special, *named], limit_alphabet=30)
    elif kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<eos>"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(cleanup=False)
        trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=special)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<eos>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    if kind == "byte-fallback":
        # The trainer makes the byte tokens special; in a model with byte fallback they are ordinary tokens.
        form = json.loads(tokenizer.to_str())
        form["added_tokens"] = [token for token in form["added_tokens"] if token["content"] in special]
        tokenizer = Tokenizer.from_str(json.dumps(form))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    if kind == "byte-level":
        fast.add_tokens(["shop near", "日本語", "éa"])
    return fast


KINDS = ("byte-level", "byte-fallback", "wordpiece", "unigram")
TOKENIZERS = {kind: trained(kind) for kind in KINDS}
PHRASES = ("a", "\n", "banana", "abab", "cheap shop", "shop near the", "Café", "é", "日本", "x", "ana", " The", "ee")
TEXTS = st.lists(st.sampled_from(PHRASES), min_size=1, max_size=3, unique=True).map(tuple)


def decoded(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def mask_of(tokenizer: Any, texts: tuple[str, ...], ids: list[int], spare: int = 3) -> list[bool]:
    banned = get_banned_texts(tokenizer, len(tokenizer) + spare, texts, EOS)
    history_RN = torch.tensor([[*ids, 5, 6], [*ids, 7, 7]])
    mask_RV = banned.make_mask(history_RN, len(ids)).expand(2, -1)
    assert torch.equal(mask_RV[0], mask_RV[1])
    return list(mask_RV[0].tolist())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), texts=TEXTS)
def test_byte_level_bans_exactly_the_tokens_that_complete_a_text(data: st.DataObject, texts: Any) -> None:
    tokenizer = TOKENIZERS["byte-level"]
    start = data.draw(st.sampled_from([*CORPUS, "a caf", "ban", "日本", "aba", "cheap sho"]))
    ids = tokenizer(start)["input_ids"][: data.draw(st.integers(1, 30))]
    ids += data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=4))
    if any(text in decoded(tokenizer, ids) for text in texts):
        return
    mask = mask_of(tokenizer, texts, ids)
    for number in range(len(tokenizer)):
        completes = any(text in decoded(tokenizer, [*ids, number]) for text in texts)
        assert mask[number] == completes, (number, tokenizer.convert_ids_to_tokens(number))
    assert not any(mask[len(tokenizer) :])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), texts=TEXTS)
def test_no_banned_text_is_ever_generated(kind: str, seed: int, texts: tuple[str, ...]) -> None:
    tokenizer, rows, steps = TOKENIZERS[kind], 4, 24
    generator = torch.Generator().manual_seed(seed)
    # Logits that prefer the tokens of the banned texts.
    preference_V = torch.zeros(len(tokenizer))
    for text in texts:
        preference_V[tokenizer(f"{text} {text} x{text}")["input_ids"]] = 4.0
    controller = LogitsController(DecodingControls(banned=texts), tokenizer, EOS, len(tokenizer))
    history_RN = torch.zeros(rows, steps, dtype=torch.long)
    for length in range(steps):
        logits_RV = torch.randn(rows, len(tokenizer), generator=generator) * 2 + preference_V
        history_RN[:, length] = controller.choose_tokens(controller.process_logits(logits_RV, history_RN, length))
    for ids in history_RN.tolist():
        text = decoded(tokenizer, ids)
        assert not [one for one in texts if one in text]


@pytest.mark.parametrize("kind", KINDS)
def test_only_tokens_that_complete_the_text_are_banned(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer("a cheap shop")["input_ids"]
    *start, last = ids
    assert "cheap shop" in decoded(tokenizer, ids)
    mask = mask_of(tokenizer, ("cheap shop",), start)
    assert mask[last]
    assert sum(mask) < len(mask) / 4
    assert not any(mask_of(tokenizer, ("Cheap Shop",), start))


def test_letters_of_several_bytes_are_found_with_byte_fallback() -> None:
    tokenizer = TOKENIZERS["byte-fallback"]
    ids = [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "a語".encode()]
    mask = mask_of(tokenizer, ("a語",), ids[:-1])
    assert [number for number, one in enumerate(mask) if one] == [ids[-1]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_tokens_join_to_the_decoded_text(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    pieces = read_token_bytes(tokenizer, len(tokenizer))
    for text in ("The Blue Spice is cheap", "banana near the river", "a cheap coffee shop"):
        ids = tokenizer(text)["input_ids"]
        joined = b"".join(pieces[number] for number in ids).decode()
        assert joined.strip() == decoded(tokenizer, ids).strip()


def test_end_of_text_is_never_banned() -> None:
    banned = BannedTexts(("eos", "a"), [b"<eos>", b"a", b"b"], EOS)
    assert banned.make_mask(torch.zeros(1, 4, dtype=torch.long), 0).tolist() == [[False, True, False]]


def test_the_tokenizer_of_a_trained_base() -> None:
    folder = os.environ.get("PREFIXFLEET_TEST_MODELS")
    if not folder or not (Path(folder) / "d2t-base").is_dir():
        pytest.skip("PREFIXFLEET_TEST_MODELS is not a folder with d2t-base/")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(Path(folder) / "d2t-base")
    phrases = ("coffee shop", "near the", "\n", "£")
    for start in (" a coffee", " a coffee sho", " a coffee s", " it is near", " it is near t", " costs \u00c2"):
        ids = tokenizer(start, add_special_tokens=False)["input_ids"]
        mask = mask_of(tokenizer, phrases, ids)
        completes = [
            any(text in decoded(tokenizer, [*ids, number]) for text in phrases) for number in range(len(tokenizer))
        ]
        assert mask[: len(tokenizer)] == completes
