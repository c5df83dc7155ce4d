import json
from itertools import islice
from random import Random

import pytest

from components.builtin import pretrain_dialogues
from components.builtin.dialogues import Material, Pairs, texts
from components.builtin.pretrain_dialogues import BATCH_TOKENS, batches, main
from components.errors import DataError
from components.model.pretraining_seq2seq import (
    END_ID,
    PAD_ID,
    START_ID,
    Seq2SeqRecipe,
    pretrain_seq2seq,
    train_bart_tokenizer,
)

DIALOGUE = """#Person1#: Can you tell me the way to the library?
#Person2#: Sure. You can take bus number seven to the old library.
#Person1#: I lost my ticket for the bus to the library."""


@pytest.fixture
def folder(tmp_path):
    row = {"dialogue": DIALOGUE, "summary": "Zyxwv.", "topic": "way"}
    (tmp_path / "dialogsum.dev.jsonl").write_text(f"{json.dumps(row)}\n" * 3)
    secret = {"dialogue": DIALOGUE.replace("library", "observatory"), "summary1": "Qponm."}
    (tmp_path / "dialogsum.test.jsonl").write_text(f"{json.dumps(secret)}\n")
    return tmp_path


def test_batches_keep_their_token_budget_and_frame_every_row():
    tokenizer = train_bart_tokenizer(islice(texts(iter(Pairs(Material(), Random(0)))), 200), 500)
    found = list(islice(batches(iter(Pairs(Material(), Random(1))), tokenizer, Random(2)), 40))
    for sources, targets in found:
        assert len(sources) == len(targets)
        assert sources.size + targets.size <= BATCH_TOKENS
        for rows in (sources, targets):
            assert (rows[:, 0] == START_ID).all()
            assert ((rows == END_ID).sum(1) == 1).all()
    assert any((sources == PAD_ID).any() for sources, _ in found)


def test_the_door_writes_a_base_and_says_what_it_has_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_dialogues, "TOKENIZER_PAIRS", 200)
    monkeypatch.setattr(pretrain_dialogues, "pretrain_seq2seq", tiny_run)
    extra = tmp_path / "prose.txt"
    extra.write_text("The mill stands by the river.\n")
    out = tmp_path / "base"
    places = ["--out", str(out), "--state", str(tmp_path / "state.pt"), "--minutes", "0.02"]
    main(["--data", str(folder), "--dialogues", "2", "--extra-text", str(extra), *places])
    card = (out / "README.md").read_text()
    assert "first 2 dialogues" in card
    assert "prose.txt: 30 bytes" in card
    assert "WebNLG" not in card
    vocabulary = (out / "tokenizer.json").read_text()
    assert "library" in vocabulary
    assert not any(word in vocabulary for word in ("observatory", "Zyxwv", "Qponm"))


def tiny_run(rows, vocabulary, recipe, log, state, **options):
    small = Seq2SeqRecipe(layers=1, hidden=16, heads=2, feed_forward=16, seed=recipe.seed)
    return pretrain_seq2seq(rows, vocabulary, small, log, state, **options)


def test_a_missing_dev_file_is_told(folder):
    (folder / "dialogsum.dev.jsonl").unlink()
    with pytest.raises(DataError, match="dev file"):
        main(["--data", str(folder)])


def test_a_missing_text_file_is_told(folder, tmp_path):
    with pytest.raises(DataError, match="UTF-8 text"):
        main(["--data", str(folder), "--extra-text", str(tmp_path / "none.txt")])
