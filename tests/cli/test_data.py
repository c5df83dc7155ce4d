"""The commands `data import` and `data check`."""

import json

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


def test_a_check_without_drops_checks_the_dataset_and_exits_0(call, make_root):
    root = make_root(("alder",))
    result = call(root, "data", "check")
    assert result.exit_code == 0, result.output
    assert "No drop waits in" in result.stdout
    assert "Dataset" in result.stdout
    assert call(root, "data", "check", "--tenant", "birch").exit_code == 2


def test_a_json_array_gives_one_hint_and_many_rejects_are_cut(call, make_root):
    root = make_root(("alder",))
    for tenant in ("array", "many"):
        (root / "drops" / tenant).mkdir(parents=True)
    lines = [{"source": f"s {number}", "references": ["r"]} for number in range(40)]
    (root / "drops/array/train.jsonl").write_text(json.dumps(lines, indent=2))
    (root / "drops/many/train.jsonl").write_text("{oops\n" * 300)
    result = call(root, "data", "check")
    assert result.exit_code == 1
    printed = result.stdout.splitlines()
    assert sum("array/train.jsonl" in line for line in printed) == 1
    assert "one JSON array of 40 elements" in result.stdout
    assert "jq -c '.[]'" in result.stdout
    assert sum("many/train.jsonl" in line for line in printed) == 5  # three lines, how many more, the refusal
    assert "many/train.jsonl: and 297 more lines like these" in result.stdout
    checked = json.loads(call(root, "data", "check", "--json").stdout)
    assert checked["faulty"]
    assert checked["tenants"]["many"]["rejects"][0]["count"] == 300
    assert "jq" in checked["tenants"]["array"]["unreadable"]["array/train.jsonl"]


@pytest.mark.parametrize("option", ["source_field", ""])
def test_an_option_without_an_equals_sign_exits_2_and_writes_nothing(call, make_root, option):
    root = make_root(("alder",))
    source = str(root / "data" / "alder" / "train.jsonl")
    result = call(root, "data", "import", "hub", source, "--tenant", "new", "-o", option, "--no-take")
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.stderr
    assert not (root / "drops").exists()


def test_a_csv_file_of_ones_own_columns_is_imported_as_text(call, make_root, tmp_path):
    root = make_root(("alder",))
    (tmp_path / "rows.csv").write_text("frage;antwort\n007;NA\n007;NA\n1;None\n")
    options = ["--source-field", "frage", "--reference-field", "antwort", "--split", "train", "--no-take"]
    result = call(root, "data", "import", "csv", str(tmp_path / "rows.csv"), "--tenant", "new", *options)
    assert result.exit_code == 0, result.output
    assert "new: train 3 lines: 2 new, 1 repeat another line of the drop" in result.stderr
    lines = [json.loads(line) for line in (root / "drops/new/train.jsonl").read_text().splitlines()]
    assert lines[1:] == [{"source": "007", "references": ["NA"]}, {"source": "1", "references": ["None"]}]
    again = call(
        root, "data", "import", "csv", str(tmp_path / "rows.csv"), "--tenant", "other", "--no-take", *options[4:6]
    )
    assert again.exit_code == 2
    assert "--source-field" in again.stderr
