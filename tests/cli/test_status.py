"""The command `status`."""


def test_a_workspace_without_versions_has_a_row_for_each_tenant(call, make_root):
    result = call(make_root(("alder", "birch")), "status")
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if "no champion" in line]
    assert [row.split()[1] for row in rows] == ["alder", "birch"]
    assert all("12 / 4 / 6" in row for row in rows)


def test_only_named_tenants_are_shown_and_an_unknown_one_is_an_error(call, make_root):
    root = make_root(("alder", "birch"))
    assert "alder" not in call(root, "status", "--tenant", "birch").stdout
    result = call(root, "status", "--tenant", "aldr")
    assert result.exit_code == 2
    assert "did you mean 'alder'?" in result.stderr
