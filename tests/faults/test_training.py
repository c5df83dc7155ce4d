"""Data that cannot be trained on, losses that run away, Ctrl-C and a second run: nothing half-written, nothing lost."""

import json
import shutil
import signal

import pytest
from processes import start_command
from waiting import wait_until

from components.training.checkpoint import STATE_FILE

_ARTIFACT = {"prefix.safetensors", "manifest.json"}
FINE = '{"source": "thing: kite", "references": ["a kite"]}\n'


@pytest.mark.parametrize(
    ("split", "content", "words"),
    [
        ("test", "", ("at least one example in a split", "none in")),
        ("test", FINE + "{oops\n", ("birch/test.jsonl:2: broken JSON",)),
        ("validation", b'{"source": "caf\xe9", "references": ["b"]}\n', ("birch/validation.jsonl:1: not UTF-8",)),
        ("train", '{"source": "x", "references": []}\n', ("birch/train.jsonl:1: no reference",)),
        (
            "train",
            FINE + json.dumps({"source": "word " * 60, "references": ["b"]}) + "\n",
            (
                "at most 160 tokens (the base's context)",
                "example 2 of",
                "birch/train.jsonl",
                "set train.max_source_tokens",
            ),
        ),
        ("test", None, ("a split file", "no file")),
    ],
)
def test_one_tenants_bad_data_stop_no_other(refused, make_root, split, content, words):
    root = make_root(("alder", "birch"))
    path = root / "data/birch" / f"{split}.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(root, ["stage", "train"], "1 failed (birch:", *words)
    assert (root / "out/train/alder/manifest.json").is_file()
    assert not (root / "out/train/birch/manifest.json").exists()


def test_a_loss_that_is_not_finite_leaves_the_prefix_that_was(call, refused, make_root, set_params, tree):
    root = make_root(("alder", "birch"))
    assert call(root, "stage", "train").exit_code == 0
    before = tree(root / "out/train/birch")
    set_params(root, tenants={"birch": {"train": {"learning_rate": 1e30}}})
    refused(root, ["stage", "train"], "1 failed (birch: wanted a finite", "lower train.learning_rate")
    after = tree(root / "out/train/birch")
    kept = [name for name in before if not name.startswith("state/")]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    set_params(root)
    assert call(root, "stage", "train").exit_code == 0
    assert {name: tree(root / "out/train/birch")[name] for name in kept} == {name: before[name] for name in kept}


def test_a_source_beyond_the_context_gets_no_text(refused, served):
    refused(served, ["generate", "alder", "word " * 60], "fewer than 160 tokens", "shorten it")
    refused(served, ["generate", "alder", " "], "a source text")


@pytest.mark.slow
def test_a_second_run_is_refused_and_ctrl_c_says_what_comes_next(make_root, set_params, call, refused):
    root = make_root(("alder",), train={"max_steps": 100_000, "validate_every": 200})
    with start_command(root, "stage", "train") as running:
        running.read_until("starts clean")
        refused(root, ["stage", "train"], f"another run (process {running.process.pid}", "wait until")
        wait_until((root / "out/train/alder/state" / STATE_FILE).is_file, "a first checkpoint")
        assert running.process.poll() is None
        running.send_to_all(signal.SIGINT)
        code = running.wait()
    assert code == 130, running.stderr
    assert "Traceback" not in running.stderr
    assert "the next `prefixfleet retrain` resumes alder at step" in running.stderr
    assert not (root / "out/train/alder/prefix.safetensors").exists()
    set_params(root)
    other = call(root, "stage", "train").stderr
    assert "starts clean" in other
    assert "the earlier state is of another run" in other


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prefix+lora", "full"])
def test_a_command_killed_with_9_goes_on_to_the_same_file(make_root, call, tree, method):
    root = make_root(("alder",), train={"method": method, "mlp_hidden": 8, "max_steps": 300, "validate_every": 10})
    assert call(root, "stage", "train").exit_code == 0
    expected = {name: content for name, content in tree(root / "out/train/alder").items() if name in _ARTIFACT}
    assert set(expected) == _ARTIFACT
    shutil.rmtree(root / "out/train")
    with start_command(root, "stage", "train") as running:
        running.read_until("training", "/300")
        running.send_to_all(signal.SIGKILL)
        code = running.wait()
    assert code == -signal.SIGKILL, running.stderr
    assert not (root / "out/train/alder/prefix.safetensors").exists()
    assert "resumes at step" in call(root, "stage", "train").stderr
    after = tree(root / "out/train/alder")
    assert {name: after[name] for name in _ARTIFACT} == expected
    assert not [name for name in after if name.endswith(".tmp")]
