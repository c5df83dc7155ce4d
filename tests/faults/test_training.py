"""Invalid data, infinite losses, Ctrl-C and a second run: no file is written partly, and no result is lost."""

import json
import shutil
import signal

import pytest
from processes import start_command
from saved_training import wait_for_trained_steps

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
def test_bad_data_of_one_tenant_stop_no_other_tenant(refused, make_root, split, content, words):
    root = make_root(("alder", "birch"))
    path = root / "data/birch" / f"{split}.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(root, ["stage", "train"], "1 failed (birch:", *words)
    assert (root / "out/train/alder/manifest.json").is_file()
    assert not (root / "out/train/birch/manifest.json").exists()


def test_a_loss_that_is_not_finite_keeps_the_former_prefix(call, refused, make_root, set_params, tree):
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


def test_a_source_that_is_too_long_or_empty_is_refused(refused, served):
    refused(served, ["generate", "alder", "word " * 60], "fewer than 160 tokens", "shorten it")
    refused(served, ["generate", "alder", " "], "a source text")


@pytest.mark.slow
def test_a_second_run_is_refused_and_ctrl_c_prints_where_training_resumes(make_root, set_params, call, refused):
    root = make_root(("alder",), train={"max_steps": 100_000, "validate_every": 20})
    with start_command(root, "stage", "train") as running:
        wait_for_trained_steps(root, running)
        refused(root, ["stage", "train"], f"another run (process {running.process.pid}", "wait until")
        assert running.process.poll() is None
        running.send_to_all(signal.SIGINT)
        code = running.wait()
    assert code == 130, running.stderr
    assert "Traceback" not in running.stderr
    assert "the next `prefixfleet retrain` resumes alder at step" in running.stderr
    assert not (root / "out/train/alder/prefix.safetensors").exists()
    set_params(root)
    printed = call(root, "stage", "train").stderr
    assert "starts clean" in printed
    assert "the earlier state is of another run" in printed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prefix+lora", "full"])
def test_after_a_kill_training_resumes_and_writes_the_same_files(make_root, call, tree, method):
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
