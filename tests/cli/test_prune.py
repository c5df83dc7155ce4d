from components.stages.retention import prune as stage
from components.stages.retention.prune import PrunedTenant


def test_the_table_and_the_sum_of_what_goes(call, make_root, monkeypatch):
    asked = []

    def find(_workspace, tenants, *, dry_run):
        asked.append((tenants, dry_run))
        return [PrunedTenant("alder", ("1", "2"), 3, 1_500_000)]

    monkeypatch.setattr(stage, "prune", find)
    result = call(make_root(("alder",)), "prune", "--dry-run", "--tenant", "alder")
    assert asked == [(["alder"], True)]
    assert result.exit_code == 0
    assert "To be removed" in result.stdout
    assert "1,500,000" in result.stdout
    assert "2 versions and 3 runs without a version, 1.5 MB, of 1 tenants would be removed" in result.stdout


def test_without_the_section_it_says_what_to_write(call, make_root):
    result = call(make_root(("alder",)), "prune")
    assert result.exit_code == 2
    assert "retention: {versions: 10, days: 90}" in result.stderr
