"""The table of results: its cells, its columns, and the rows of a workspace."""

import dataclasses

import pytest

from components.evaluation.report import Score
from components.stages import evaluate, gate, register, train
from components.stages.plan import plan
from components.stages.reports.results_table import COLUMNS, TenantResult, make_table, read_results, to_markdown
from components.stages.workspace import Workspace


def make_score(value):
    return Score(metric="bleu", value=value, low=value - 1, high=value + 1, n=4)


ROW = TenantResult(
    tenant="alder",
    method="prefix",
    bleu_base=make_score(1.0),
    bleu=make_score(50.04),
    rouge_base=make_score(2.0),
    rouge=make_score(60.0),
    parameters=16_384,
    parameter_share=0.0043,
    artifact_bytes=34_500,
    verdict="accepted",
    version="3",
    alias="champion",
)


def test_cells_have_intervals_shares_and_sizes():
    heads, (cells,) = make_table([ROW])
    assert heads == COLUMNS
    assert cells == (
        "alder",
        "1.0 [0.0, 2.0]",
        "50.0 [49.0, 51.0]",
        "2.0 [1.0, 3.0]",
        "60.0 [59.0, 61.0]",
        "16,384 (0.43%)",
        "34 KiB",
        "accepted",
        "3",
        "champion",
    )


def test_the_method_is_a_column_only_if_a_method_is_not_prefix():
    heads, cells = make_table([ROW, dataclasses.replace(ROW, tenant="birch", method="lora")])
    assert heads[:2] == ("tenant", "method")
    assert [row[:2] for row in cells] == [("alder", "prefix"), ("birch", "lora")]


def test_markdown_is_narrow_and_has_a_line_a_row_below_heads():
    lines = to_markdown([ROW, dataclasses.replace(ROW, method="lora")]).splitlines()
    assert lines[0] == "| tenant | method | BLEU | ROUGE-L | verdict | version | alias |"
    assert lines[2] == "| alder | prefix | 1.0 → 50.0 | 2.0 → 60.0 | accepted | 3 | champion |"
    assert to_markdown([ROW]).splitlines()[2] == "| alder | 1.0 → 50.0 | 2.0 → 60.0 | accepted | 3 | champion |"
    assert set(lines[1]) == set("| -")
    assert len(lines) == 4


@pytest.fixture
def workspace(make_root):
    root = make_root(("alder", "birch"), tenants={"birch": {"gate": {"floors": {"bleu": 101.0}}}})
    for stage in (train, evaluate, gate):
        stage.run(Workspace(root))
    return Workspace(root)


def test_rows_are_of_prefixes_with_reports_and_name_their_version(workspace):
    assert [(row.tenant, row.verdict, row.version) for row in read_results(workspace)] == [
        ("alder", "accepted", "-"),
        ("birch", "rejected", "-"),
    ]
    versions, _ = register.register(workspace, plan(workspace).collect_fingerprints())
    register.roll_out(workspace, versions, [])
    (workspace.root / "out/evaluate/birch/report.json").unlink()
    (row,) = read_results(workspace)
    assert (row.tenant, row.version, row.alias) == ("alder", "1", "champion")
    assert row.parameters == 2 * 2 * 2 * 16
    assert row.artifact_bytes > 256
    assert read_results(workspace, ["birch"]) == []
