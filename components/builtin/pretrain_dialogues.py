"""`make base-dialogues`: pretrain the small BART that reads dialogues, and write it with a card of what it has read.

Of DialogSum it reads dialogues of the dev file only, and no summary; of E2E and WebNLG the training texts.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from components.builtin.dialogues import Material, Pair, Pairs, texts
from components.data.importers.dialogsum import import_dialogsum
from components.data.importers.e2e import import_e2e
from components.data.importers.webnlg import import_webnlg
from components.data.schema import Example
from components.errors import DataError, PrefixFleetError
from components.model.pretraining_seq2seq import (
    PAD_ID,
    Batch,
    Seq2SeqRecipe,
    pretrain_seq2seq,
    save_bart,
    train_bart_tokenizer,
)

VOCABULARY = 4096
BATCH_TOKENS = 2048
POOL_PAIRS = 256
SOURCE_TOKENS, TARGET_TOKENS = 352, 160
TOKENIZER_PAIRS = 20_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write the base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="DialogSum's folder")
    parser.add_argument(
        "--dialogues", type=int, default=400, help="how many of the dev file's first dialogues are read"
    )
    parser.add_argument("--e2e", type=Path, help="the E2E archive or folder")
    parser.add_argument("--webnlg", type=Path, help="the WebNLG archive or folder")
    parser.add_argument("--extra-text", type=Path, nargs="*", default=[], help="files of English, a paragraph a line")
    parser.add_argument("--out", type=Path, default=Path("var/bases/dialogue-bart"))
    parser.add_argument("--state", type=Path, default=Path("var/pretraining-dialogues.pt"))
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    material = read_material(options)
    tokenizer = train_bart_tokenizer(
        islice(texts(iter(Pairs(material, Random(options.seed + 1)))), TOKENIZER_PAIRS), VOCABULARY
    )
    pairs = iter(Pairs(material, Random(options.seed + 2)))
    recipe = Seq2SeqRecipe(seed=options.seed)
    model, steps = pretrain_seq2seq(
        batches(pairs, tokenizer, Random(options.seed + 3)),
        tokenizer.get_vocab_size(),
        recipe,
        _log,
        options.state,
        minutes=options.minutes,
    )
    save_bart(model, tokenizer, options.out)
    (options.out / "README.md").write_text(card(options, material, steps), encoding="utf-8")


def read_material(options: argparse.Namespace) -> Material:
    """Read what the options name.

    Raises:
        DataError: a file that is missing or not as its kind's.

    """
    splits = import_dialogsum(str(options.data))
    if "validation" not in splits:
        raise DataError("DialogSum's dev file", f"{', '.join(splits) or 'no split'} in {options.data}", "add the file")
    dialogues = splits["validation"][: options.dialogues]
    wordings: list[tuple[str, ...]] = []
    if options.e2e:
        wordings += _grouped(import_e2e(str(options.e2e))["train"])
    if options.webnlg:
        wordings += _grouped(import_webnlg(str(options.webnlg))["train"])
    paragraphs = [line for path in options.extra_text for line in _text(path).splitlines() if line.strip()]
    return Material(dialogues=[e.source for e in dialogues], paragraphs=paragraphs, wordings=wordings)


def batches(pairs: Iterator[Pair], tokenizer: Any, random: Random) -> Iterator[Batch]:
    """Batches of pairs of like length and `BATCH_TOKENS` tokens at most, in random order; longer texts are cut."""
    while True:
        pool = list(islice(pairs, POOL_PAIRS))
        sources = [_cut(row.ids, SOURCE_TOKENS) for row in tokenizer.encode_batch([source for source, _ in pool])]
        targets = [_cut(row.ids, TARGET_TOKENS) for row in tokenizer.encode_batch([target for _, target in pool])]
        order = sorted(range(len(pool)), key=lambda row: (len(sources[row]) + 3 * len(targets[row]), row))
        groups: list[list[int]] = [[]]
        for row in order:
            wider = [*groups[-1], row]
            width = max(len(sources[member]) for member in wider) + max(len(targets[member]) for member in wider)
            if groups[-1] and width * len(wider) > BATCH_TOKENS:
                groups.append([row])
            else:
                groups[-1] = wider
        random.shuffle(groups)
        for group in groups:
            yield _filled([sources[row] for row in group]), _filled([targets[row] for row in group])


def card(options: argparse.Namespace, material: Material, steps: int) -> str:
    """What the base is and what it was trained on, in Markdown with the front matter of a model card."""
    sources = [
        f"- the first {len(material.dialogues)} dialogues of DialogSum's dev file (CC BY-NC-SA 4.0); nothing of its "
        "test file, and no summary of any file",
        "- scenes of this project's own grammar, made by seed",
    ]
    if options.e2e:
        sources.append("- E2E NLG, training references (CC BY-SA 4.0)")
    if options.webnlg:
        sources.append("- WebNLG 2017, training texts (CC BY-NC-SA 4.0)")
    for path in options.extra_text:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        sources.append(f"- {path.name}: {path.stat().st_size:,} bytes, SHA-256 {digest}...")
    lines = [
        "---",
        "library_name: transformers",
        "language: en",
        "license: cc-by-nc-sa-4.0",
        "---",
        "",
        f"# {options.out.name}",
        "",
        "A small BART (encoder-decoder) for experiments with summaries of dialogues on a small machine. It is not a",
        "language model of general use.",
        "",
        f"Trained from random weights for {steps:,} steps of {BATCH_TOKENS} tokens ({options.minutes:g} minutes), seed "
        f"{options.seed}, on:",
        "",
        *sources,
        "",
        "Tasks: texts with masked spans and permuted sentences to be restored (BART); windows of dialogues whose",
        "central lines are to be told in reported speech made by rule (after PEGASUS); made scenes and what an",
        "onlooker says of them; descriptions told in turns and another wording of them.",
    ]
    return "\n".join(lines) + "\n"


def _grouped(examples: Sequence[Example]) -> list[tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for example in examples:
        groups.setdefault(example.source, []).extend(example.references)
    return [tuple(dict.fromkeys(group)) for group in groups.values()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError("a UTF-8 text file", f"{path}: {problem}", "name files that can be read") from problem


def _cut(ids: list[int], most: int) -> list[int]:
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


def _filled(rows: list[list[int]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    ids_BT = np.full((len(rows), max(map(len, rows))), PAD_ID, dtype=np.int64)
    for number, row in enumerate(rows):
        ids_BT[number, : len(row)] = row
    return ids_BT


def _log(step: int, loss: float, seconds: float) -> None:
    print(f"step {step}  loss {loss:.4f}  {seconds:.0f} s", flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except PrefixFleetError as problem:
        print(f"wanted: {problem.wanted}\ngot: {problem.got}\nfix: {problem.fix}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
