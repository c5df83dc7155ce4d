"""Tenant ids on the command line, checked before anything runs; options that replace values of params.yaml."""

from pathlib import Path

import pytest

from cli.arguments import check_tenant, collect_settings
from components.errors import DataError


@pytest.mark.parametrize("value", [None, "alder", ["alder", "birch-2"], []])
def test_valid_ids_are_returned_unchanged(value):
    assert check_tenant(value) == value


@pytest.mark.parametrize("value", ["", "Upper", ["alder", "a/b"]])
def test_one_invalid_id_is_refused(value):
    with pytest.raises(DataError, match="DNS label"):
        check_tenant(value)


@pytest.mark.parametrize("tenant", ["../x", "a/b", "Upper", "a" * 200])
def test_a_command_with_an_invalid_id_exits_2(call, make_root, tenant):
    root = make_root(("alder",))
    for arguments in (["status", "--tenant", tenant], ["generate", tenant, "text"], ["promote", tenant]):
        result = call(root, *arguments)
        assert result.exit_code == 2, arguments
        assert "wanted:" in result.stderr
    source = root / "data" / "alder"
    assert call(root, "data", "import", "hub", str(source / "train.jsonl"), "--tenant", tenant).exit_code == 2
    assert not (root / "drops").exists()


def test_options_that_were_given_are_settings_and_paths_are_text():
    given = collect_settings(host=None, port=0, tls_key=Path("keys/key.pem"))
    assert given == {"port": 0, "tls_key": "keys/key.pem"}
