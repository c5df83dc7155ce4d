from components.stages.stamps import (
    is_up_to_date,
    read_csv,
    read_json,
    remove_departed,
    write_csv,
    write_json,
    write_stamp,
)


def test_a_stamp_is_up_to_date_until_inputs_or_files_change(tmp_path):
    (tmp_path / "result").write_text("one")
    write_stamp(tmp_path, {"data": "a", "beams": 1, "limit": None}, ["result"])
    assert is_up_to_date(tmp_path, {"data": "a", "beams": 1, "limit": None})
    assert not is_up_to_date(tmp_path, {"data": "b", "beams": 1, "limit": None})
    (tmp_path / "result").write_text("two")
    assert not is_up_to_date(tmp_path, {"data": "a", "beams": 1, "limit": None})


def test_a_broken_or_missing_stamp_is_not_up_to_date(tmp_path):
    assert not is_up_to_date(tmp_path, {})
    (tmp_path / "stamp.json").write_text('{"inputs": {')
    assert not is_up_to_date(tmp_path, {})
    for text in ("[" * 10**5, "9" * 5000, "[]", '{"inputs": {}}', '{"inputs": {}, "files": 3}'):
        (tmp_path / "stamp.json").write_text(text)
        assert not is_up_to_date(tmp_path, {})
    write_stamp(tmp_path, {}, [])
    assert is_up_to_date(tmp_path, {})
    (tmp_path / "gone").write_text("x")
    write_stamp(tmp_path, {}, ["gone"])
    (tmp_path / "gone").unlink()
    assert not is_up_to_date(tmp_path, {})


def test_an_equal_json_file_is_not_written_again(tmp_path):
    path = tmp_path / "deep" / "values.json"
    write_json(path, {"b": 1, "a": "ü"})
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_json(path, {"a": "ü", "b": 1})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert read_json(path) == {"a": "ü", "b": 1}
    assert read_json(tmp_path / "none.json") is None
    for broken in ("1" * 5000, "[" * 100_000, "{"):
        path.write_text(broken)
        assert read_json(path) is None


def test_csv_and_cleaning(tmp_path):
    write_csv(tmp_path / "t.csv", ["a", "b"], [[1, "x,y"], [2, ""]])
    assert read_csv(tmp_path / "t.csv") == [{"a": "1", "b": "x,y"}, {"a": "2", "b": ""}]
    assert read_csv(tmp_path / "none.csv") == []
    for name in ("keep", "gone"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "keep")
    assert remove_departed(tmp_path, {"keep"}) == ["gone", "link"]
    assert (tmp_path / "keep").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keep", "t.csv"]
