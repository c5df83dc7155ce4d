"""The commands `stage` and `retrain`: a failed tenant, a locked workspace, and the printed results of a run."""

from cli.runs import print_run
from components.stages.workspace import Workspace
from flows.retrain_result import RetrainResult


def test_a_second_run_in_a_workspace_is_refused(call, make_root):
    root = make_root(("alder",))
    with Workspace(root).lock():
        result = call(root, "stage", "train")
    assert result.exit_code == 2
    assert "another run (process" in result.stderr


def test_a_stage_with_a_failed_tenant_exits_2_and_keeps_the_others(call, make_root):
    root = make_root(("alder", "birch"), tenants={"birch": {"train": {"learning_rate": 1e30}}})
    result = call(root, "stage", "train")
    assert result.exit_code == 2
    assert "1 failed (birch:" in result.stderr
    assert (root / "out/train/alder/manifest.json").is_file()


def test_a_run_without_results_is_printed_as_one_line(capsys):
    print_run(RetrainResult("a" * 32, "nothing to train"))
    assert capsys.readouterr().out == "0 trained, 0 promoted of 0 tenants\n"
