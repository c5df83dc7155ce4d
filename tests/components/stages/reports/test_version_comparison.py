"""Two versions compared from kept predictions: the workspace's files, MLflow's runs, and what is said without them."""

import shutil

import pytest
from stage_chain import run_chain
from workspaces import amplify_prefixes, set_params, write_tenant

from components.errors import ArtifactError, GateError
from components.stages.reports.version_comparison import BASE, compare_versions
from components.stages.workspace import Workspace


@pytest.fixture(scope="module")
def two_versions(make_root_in, tmp_path_factory):
    """A workspace in which version 2 of alder has become champion after version 1, with another decoding."""
    root = make_root_in(tmp_path_factory.mktemp("compared"), ("alder",))
    amplify_prefixes(root)
    run_chain(root)
    set_params(root, train={"prefix_length": 6, "seed": 3}, evaluate={"max_new_tokens": 12})
    assert run_chain(root)[1] == {"alder": "2"}
    return root


@pytest.fixture
def root(two_versions, tmp_path):
    return shutil.copytree(two_versions, tmp_path / "workspace")


def compare(root, first="1", second="2", *, without_files=False):
    workspace = Workspace(root)
    versions = {one.version: one for one in workspace.registry.find_versions("alder")}
    evaluated = None if without_files else workspace.get_output_folder("evaluate", "alder")
    return compare_versions(workspace.registry, evaluated, "alder", versions.get(first), versions[second])


def test_the_workspace_s_files_are_compared_without_mlflow(root, monkeypatch):
    monkeypatch.setattr("components.registry.registry.read_run_file", lambda *_: pytest.fail("asks MLflow"))
    compared = compare(root)
    assert (compared.first, compared.second, len(compared.pairs), compared.only_in_one) == ("1", "2", 6, 0)
    assert compared.slices == ["seen", "unseen"]
    rows = compared.score_rows("chrf")
    assert [abs(row.change) for row in rows] == sorted((abs(row.change) for row in rows), reverse=True)
    assert sorted(row.number for row in rows) == [1, 2, 3, 4, 5, 6]
    assert {row.first for row in rows} != {row.second for row in rows}
    based = compare(root, BASE)
    assert (based.first, len(based.pairs)) == ("base", 6)


def test_versions_are_compared_from_mlflow_s_runs(root):
    compared = compare(root, without_files=True)
    assert (compared.first_report.prefix_digest, compared.second_report.prefix_digest) == (
        *(Workspace(root).registry.find_versions("alder")[number].sha256 for number in (1, 0)),
    )
    assert compared.different_decoding == ["max_new_tokens: 8, then 12"]
    with pytest.raises(ArtifactError, match=r"kept predictions of the base alone .*prefixfleet retrain"):
        compare(root, BASE, without_files=True)


def test_only_examples_that_both_versions_have_are_compared(root):
    write_tenant(root / "data", "alder", start=3)  # the last three examples of the old test split, and three new ones
    run_chain(root)
    compared = compare(root, "1", "3", without_files=True)
    assert (len(compared.pairs), compared.only_in_one) == (3, 6)
    write_tenant(root / "data", "alder", start=300)
    run_chain(root)
    with pytest.raises(GateError, match="no example that both have"):
        compare(root, "1", "4", without_files=True)


def test_a_version_without_predictions_says_how_to_get_them(root):
    workspace = Workspace(root)
    (version,) = (one for one in workspace.registry.find_versions("alder") if one.version == "1")
    (kept,) = root.glob(f"var/**/{version.run_id}/artifacts/predictions.jsonl")
    kept.unlink()
    assert compare(root).pairs
    with pytest.raises(ArtifactError, match=r"predictions\.jsonl in MLflow's run of version 1 of alder.*retrain"):
        compare(root, without_files=True)
