"""A run with nothing to do is found out beforehand, with the result that the run would have; anything to do is seen."""

import shutil

import pytest
from stage_chain import run_chain

from components.config import RegistryConfig
from components.errors import DataError
from components.registry.registry import CHALLENGER, CHAMPION, Registry
from components.stages import dataset
from components.stages.idle_run import find_idle_run
from components.stages.reports.charts import draw_charts
from components.stages.reports.results_table import read_results
from components.stages.workspace import Workspace

PAIR = ("alder", "birch")


@pytest.fixture(scope="module")
def finished(make_checkout_in, tmp_path_factory):
    """A checkout after a complete run over two tenants."""
    root = make_checkout_in(tmp_path_factory.mktemp("finished"), PAIR)
    outcomes, promoted = run_chain(root)
    assert {one.state for one in outcomes} == {"done"}
    assert sorted(promoted) == list(PAIR)
    draw_charts(Workspace(root))
    dataset.commit_to_dvc(Workspace(root))
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy of it, in which a test may change things."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_a_run_without_changes_has_the_result_of_a_run(root):
    idle = find_idle_run(Workspace(root))
    outcomes, promoted = run_chain(root)
    assert promoted == {}
    assert sorted(idle.outcomes, key=str) == sorted(outcomes, key=str)
    assert idle.rows == read_results(Workspace(root))
    assert idle.version == Workspace(root).dataset_version
    assert idle.planned.sentence == "nothing to train: the prefixes of all 2 tenants are up to date"
    assert [row.tenant for row in find_idle_run(Workspace(root), ["birch"]).rows] == ["birch"]


def test_a_challenger_on_trial_leaves_nothing_to_do(root):
    registry = Registry(RegistryConfig(), root)
    registry.delete_alias("alder", CHAMPION)
    registry.set_alias("alder", CHALLENGER, "1")
    assert find_idle_run(Workspace(root)) is not None


def replace_in_params(old, new):
    def change(root):
        text = (root / "params.yaml").read_text()
        assert old in text
        (root / "params.yaml").write_text(text.replace(old, new))

    return change


def add_drop(root):
    (root / "drops" / "birch").mkdir(parents=True)
    shutil.copy(root / "data/alder/train.jsonl", root / "drops/birch")


def change_data(root):
    shutil.copy(root / "data/alder/train.jsonl", root / "data/birch")


def remove(name):
    def change(root):
        path = root / name
        assert path.exists()
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def write(name):
    def change(root):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")

    return change


def remove_alias(root):
    Registry(RegistryConfig(), root).delete_alias("birch", CHAMPION)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(add_drop, id="a drop waits"),
        pytest.param(change_data, id="data changed"),
        pytest.param(remove("data"), id="data are missing"),
        pytest.param(replace_in_params("max_steps: 4", "max_steps: 5"), id="a training parameter changed"),
        pytest.param(replace_in_params("max_new_tokens: 8", "max_new_tokens: 9"), id="a decoding parameter changed"),
        pytest.param(replace_in_params("min_slice: 2", "min_slice: 3"), id="a gate parameter changed"),
        pytest.param(remove("out/train/birch/prefix.safetensors"), id="a prefix is missing"),
        pytest.param(write("out/evaluate/birch/report.json"), id="a report was damaged"),
        pytest.param(write("out/gate/birch/verdict.json"), id="a verdict was damaged"),
        pytest.param(remove("out/gate/birch"), id="a verdict is missing"),
        pytest.param(remove("out/evaluate/_metrics/birch.json"), id="the metrics of a tenant are missing"),
        pytest.param(remove("out/pictures/bleu.png"), id="a chart is missing"),
        pytest.param(write("out/train/gone/manifest.json"), id="a tenant has results but no data"),
        pytest.param(remove("dvc.lock"), id="DVC has no record of the results"),
        pytest.param(remove_alias, id="an accepted prefix has no alias"),
    ],
)
def test_anything_to_do_is_seen(root, change):
    change(root)
    assert find_idle_run(Workspace(root)) is None


def test_an_unknown_tenant_is_an_error_before_any_server_starts(root):
    with pytest.raises(DataError, match="did you mean 'alder'"):
        find_idle_run(Workspace(root), ["adler"])
