"""Small tokenizers that mark the start of a text in the ways that are in use, trained on a few words."""

import json
from typing import Any

WORDS = ("the", "cat", "sat", "on", "a", "mat", "blue", "spice", "is", "cheap", "near", "river", "(now)", "10", "it's")
KINDS = (
    "gpt2",
    "prefix-space",
    "llama3",
    "opt",
    "sentencepiece-bpe",
    "sentencepiece-unigram",
    "metaspace",
    "metaspace-first",
    "two-leads",
    "wordpiece",
    "wordlevel",
    "roberta",
    "byte-level-eos",
    "llama-class",
)


def make_tokenizer(kind: str) -> Any:
    """Make one of KINDS with the end token `</s>`; all know the text of WORDS, separated by single spaces."""
    from transformers import PreTrainedTokenizerFast

    if kind == "llama-class":
        return _make_llama()
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>"}
    return PreTrainedTokenizerFast(tokenizer_object=_TOKENIZERS[kind](), **names)


def _byte_level(prefix_space: bool = False, template: str | None = None) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    return _add_template(_train(tokenizer, trainer), template)


def _sentencepiece(model: str, template: str) -> Any:
    """As Llama 2: the normaliser puts `▁` before the text and in place of spaces; bytes for unknown letters."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    learnt = Tokenizer(models.BPE(unk_token="<unk>"))
    learnt.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[*_SPECIAL, *_BYTES], initial_alphabet=["▁"], show_progress=False
    )
    saved = json.loads(_train(learnt, trainer).to_str())["model"]
    if model == "bpe":
        merges = [tuple(pair) for pair in saved["merges"]]
        inner = models.BPE(saved["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    else:
        pieces = sorted(saved["vocab"], key=saved["vocab"].get)
        inner = models.Unigram([(one, -float(rank) / 40) for rank, one in enumerate(pieces)], 1, byte_fallback=True)
    tokenizer = Tokenizer(inner)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(_SPECIAL)
    return _add_template(tokenizer, template)


def _metaspace() -> Any:
    """As T5: `▁` by the pre-tokenizer, an end token, no start token, no bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=_SPECIAL, unk_token="<unk>", show_progress=False)
    return _add_template(_train(tokenizer, trainer), "$A </s>")


def _metaspace_first() -> Any:
    """As Llama in transformers 5: `▁` only at the start of a text, by the pre-tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=_SPECIAL, show_progress=False)
    return _add_template(_train(tokenizer, trainer), "<s> $A")


def _wordpiece() -> Any:
    """As BERT, with `</s>` in place of [SEP]."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=_SPECIAL, show_progress=False)
    return _add_template(_train(tokenizer, trainer), "<s> $A </s>")


def _wordlevel() -> Any:
    """Whole words, and no tokens around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _train(tokenizer, trainers.WordLevelTrainer(special_tokens=_SPECIAL, show_progress=False))


def _make_llama() -> Any:
    """transformers' own class, which makes its parts from settings, with a start token and an end token."""
    from transformers import LlamaTokenizer

    learnt = json.loads(_sentencepiece("bpe", "<s> $A").to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    return LlamaTokenizer(learnt["vocab"], merges, pad_token="<pad>", add_bos_token=True, add_eos_token=True)


def _train(tokenizer: Any, trainer: Any) -> Any:
    tokenizer.train_from_iterator([" ".join(WORDS[start:] + WORDS[:start]) for start in range(len(WORDS))], trainer)
    return tokenizer


def _add_template(tokenizer: Any, template: str | None) -> Any:
    from tokenizers import processors

    if template:
        ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return tokenizer


_SPECIAL = ["<s>", "<unk>", "</s>", "<pad>"]
_BYTES = [f"<0x{number:02X}>" for number in range(256)]
_TOKENIZERS = {
    "gpt2": _byte_level,
    "prefix-space": lambda: _byte_level(prefix_space=True),
    "llama3": lambda: _byte_level(template="<s> $A"),
    "opt": lambda: _byte_level(template="</s> $A"),
    "sentencepiece-bpe": lambda: _sentencepiece("bpe", "<s> $A"),
    "sentencepiece-unigram": lambda: _sentencepiece("unigram", "<s> $A </s>"),
    "metaspace": _metaspace,
    "metaspace-first": _metaspace_first,
    "two-leads": lambda: _byte_level(template="<s> </s> $A"),
    "wordpiece": _wordpiece,
    "wordlevel": _wordlevel,
    "roberta": lambda: _byte_level(prefix_space=True, template="<s> $A </s>"),
    "byte-level-eos": lambda: _byte_level(template="$A </s>"),
}
