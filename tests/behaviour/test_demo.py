"""The demo and Ctrl-C as a person at a terminal meets them; the base is tiny and random, so the scores mean nothing."""

import signal

import pytest
from processes import PREFIXFLEET, start_command

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


@pytest.fixture
def long_context_root(make_checkout):
    """A checkout whose base has a context long enough for the built-in tenants' texts, byte by byte."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    evaluate = {"max_new_tokens": 4, "max_examples": 10, "bootstrap_samples": 10}
    root = make_checkout((), train={"max_steps": 2}, evaluate=evaluate)
    torch.manual_seed(0)
    config = GPT2Config.from_pretrained(root / "base")
    config.n_positions = 1024
    GPT2LMHeadModel(config).save_pretrained(root / "base")
    return root


def test_a_demo_ends_with_the_table_and_a_second_one_trains_nothing(long_context_root, run_in, call):
    root = long_context_root
    first = run_in(root, PREFIXFLEET, "demo", own_prefect=True)
    assert first.stdout.count("champion") >= 4
    assert "4 trained, 4 promoted of 4 tenants" in first.stdout
    for hint in (
        "mlflow server --backend-store-uri sqlite:///",
        "PREFECT_UI_API_URL=http://127.0.0.1:4200/api prefect server start --port 4200",
        "dvc metrics show",
    ):
        assert hint in first.stdout
    for picture in ("loss.png", "bleu.png"):
        assert (root / "out/pictures" / picture).is_file()
    assert (root / "var/prefect/prefect.db").is_file()
    assert "Traceback" not in first.stderr
    changed = run_in(root, "git", "status", "--short").stdout.split("\n")
    assert {line[3:] for line in changed if line} <= {
        "base/",
        "base/config.json",
        "base/model.safetensors",
        "data.dvc",
        "dvc.lock",
    }
    second = call(root, "demo")
    assert second.exit_code == 0, second.output
    assert "0 trained, 0 promoted of 4 tenants" in second.stdout
    assert "nothing to train" in second.stderr


def test_ctrl_c_stops_training_but_not_prefects_server_and_the_next_run_resumes(
    make_checkout, give_prefect_tables, call
):
    root = make_checkout(("alder",), train={"max_steps": 400, "validate_every": 200})
    give_prefect_tables(root / "var/prefect")
    with start_command(root, "retrain", own_prefect=True) as running:
        running.read_until("training", "/400")
        running.send_to_all(signal.SIGINT)
        code = running.wait()
    assert code == 130, running.stderr
    assert "resumes alder at step" in running.stderr
    assert "Traceback" not in running.stderr
    again = call(root, "retrain")
    assert again.exit_code == 0, again.output
    assert "resumes at step" in again.stderr
    assert "1 trained, 1 promoted" in again.stdout
