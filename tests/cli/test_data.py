"""The commands `data import` and `data check`."""

import pytest


def test_an_import_without_taking_makes_a_drop_that_a_second_import_does_not_overwrite(call, make_root):
    root = make_root(("alder",))
    source = str(root / "data" / "alder" / "train.jsonl")
    options = ["-o", "source_field=source", "-o", "reference_field=references", "--no-take"]
    result = call(root, "data", "import", "hub", source, "--tenant", "new", *options)
    assert result.exit_code == 0, result.output
    assert "prefixfleet data take" in result.stdout
    assert (root / "drops/new/train.jsonl").is_file()
    result = call(root, "data", "check")
    assert result.exit_code == 1
    assert "the drop of new would be refused: " in result.stdout
    assert "add validation.jsonl to the drop" in result.stdout
    again = call(root, "data", "import", "hub", source, "--tenant", "new", *options)
    assert again.exit_code == 2
    assert "no drop of new waiting" in again.stderr
    with (root / "drops/new/train.jsonl").open("a") as stream:
        stream.write("{broken\n")
    result = call(root, "data", "check")
    assert result.exit_code == 1
    assert "train.jsonl:13" in result.stdout


@pytest.mark.parametrize("option", ["source_field", ""])
def test_an_option_without_an_equals_sign_exits_2_and_writes_nothing(call, make_root, option):
    root = make_root(("alder",))
    source = str(root / "data" / "alder" / "train.jsonl")
    result = call(root, "data", "import", "hub", source, "--tenant", "new", "-o", option, "--no-take")
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.stderr
    assert not (root / "drops").exists()
