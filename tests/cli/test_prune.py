from components.stages.retention import prune as stage
from components.stages.retention.result import PrunedKind, PrunedTenant, PruneResult


def test_the_table_and_the_sum_of_what_goes(call, make_root, monkeypatch):
    asked = []

    def find(_workspace, tenants, *, dry_run):
        asked.append((tenants, dry_run))
        return PruneResult(
            [PrunedTenant("alder", ("1", "2"), 3, 1_500_000, 1)],
            [PrunedKind("objects of the exchange", 4, 500_000, "alder"), PrunedKind("records of nights", 7, None)],
        )

    monkeypatch.setattr(stage, "prune", find)
    result = call(make_root(("alder",)), "prune", "--dry-run", "--tenant", "alder")
    assert asked == [(["alder"], True)]
    assert result.exit_code == 0
    assert "To be removed" in result.stdout
    assert "1,500,000" in result.stdout
    line = (
        "2 versions and 3 runs without a version of 1 tenant, the predictions of 1 version, 4 objects of the exchange, "
        "7 records of nights: 2.0 MB would be removed"
    )
    assert line in " ".join(result.stdout.split())


def test_without_the_section_it_says_what_to_write(call, make_root):
    result = call(make_root(("alder",)), "prune")
    assert result.exit_code == 2
    assert "retention: {versions: 10, days: 90}" in result.stderr


def test_a_tenant_that_does_not_exist_is_an_error_and_nothing_old_is_said(call, make_root):
    root = make_root(("alder",), retention={"versions": 1})
    wrong = call(root, "prune", "--tenant", "older")
    assert (wrong.exit_code, "did you mean 'alder'?" in wrong.stderr) == (2, True)
    assert "nothing is old enough to be removed" in call(root, "prune").stdout
