"""The command `migrate` without anything to move."""


def test_without_a_next_base_and_without_results_migrate_says_what_to_do(call, make_root):
    root = make_root(("alder",))
    result = call(root, "migrate")
    assert result.exit_code == 2
    assert "add next_base" in result.stderr
    result = call(root, "migrate", "--finish")
    assert result.exit_code == 2
    assert "run `prefixfleet migrate` first" in result.stderr


def test_serve_on_the_next_base_needs_one(call, make_root):
    result = call(make_root(("alder",)), "serve", "--next-base")
    assert result.exit_code == 2
    assert "next_base" in result.stderr
