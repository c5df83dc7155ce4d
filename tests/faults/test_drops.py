"""Invalid drops: each error names file and line, one refused drop does not stop the others, and no drop is lost."""

import pytest

from components.errors import WorkspaceError
from components.stages import dataset
from components.stages.workspace import Workspace

GOOD = '{"source": "thing: kite", "references": ["a kite"]}\n'


def drop(root, tenant, **splits):
    """Write a drop; each split's content is text or bytes."""
    for split, content in splits.items():
        path = root / "drops" / tenant / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def complete(content=GOOD):
    """Return the content of three splits; validation and test have sources of their own."""
    return {"train": content, "validation": GOOD.replace("kite", "boat"), "test": GOOD.replace("kite", "drum")}


def test_a_check_lists_every_bad_line_and_every_drop_that_would_be_refused(call, make_root, tree):
    root = make_root(("alder",))
    drop(root, "latin", **complete(GOOD.encode() + b'{"source": "caf\xe9", "references": ["b"]}\n'))
    drop(root, "broken", **complete(GOOD + '{"source": "x", "refer\n'))
    bare = '{"source": " ", "references": ["b"]}\n{"source": "x", "references": []}\n{"source": "x"}\n'
    drop(root, "bare", **complete(bare))
    drop(root, "alder", test="")
    drop(root, "half", train=GOOD)
    drop(root, "Upper", **complete())
    drop(root, "good", **complete())
    before = tree(root)
    result = call(root, "data", "check")
    assert result.exit_code == 1
    for line in (
        "latin/train.jsonl:2: not UTF-8: byte 0xe9 at column 16",
        "broken/train.jsonl:2: broken JSON: Unterminated string starting at, column 17",
        "bare/train.jsonl:1: source is empty",
        "bare/train.jsonl:2: no reference",
        "bare/train.jsonl:3: no reference",
        "the drop of alder would be refused: wanted at least one example in each split",
        "the drop of half would be refused: wanted train, validation and test examples of every tenant",
        f"the drop of Upper would be refused: wanted a tenant id that is a DNS label; got 'Upper' in {root / 'drops'}",
    ):
        assert line in result.stdout
    assert "drop of good" not in result.stdout
    assert tree(root) == before
    assert call(root, "data", "check", "--tenant", "good").exit_code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_an_intake_refuses_only_bad_drops_and_changes_nothing_without_a_remote(make_checkout, run_in, refused, tree):
    root = make_checkout(("alder",))
    drop(root, "latin", **complete(b'{"source": "caf\xe9", "references": ["b"]}\n'))
    drop(root, "Upper", **complete())
    drop(root, "good", **complete())
    before = tree(root)

    run_in(root, "dvc", "remote", "remove", "local")
    refused(root, ["data", "take"], "no DVC remote", "dvc remote add -d NAME URL")
    after = tree(root)
    assert {name: after[name] for name in before if not name.startswith(".dvc/config")}.items() <= before.items()
    assert not list(root.glob("*.tmp*"))

    run_in(root, "dvc", "remote", "add", "-q", "-d", "local", str(root.parent / "remote"))
    refused(root, ["data", "take"], "2 failed", "latin/train.jsonl:1: not UTF-8", "'Upper' in")
    assert sorted(path.name for path in (root / "data").iterdir()) == ["alder", "good"]
    assert sorted(path.name for path in (root / "drops").iterdir()) == ["Upper", "latin"]
    assert (root / "drops/latin/train.jsonl").read_bytes() == before["drops/latin/train.jsonl"]
    assert "not UTF-8" in (root / "quarantine/latin/train.jsonl").read_text()


def test_a_drop_without_a_valid_tenant_id_stops_no_run(make_root):
    root = make_root(("alder",))
    drop(root, "Upper", **complete())
    result = dataset.ingest_waiting_drops(Workspace(root))
    assert result is not None
    (outcome,) = dataset.to_outcomes(result)
    assert (outcome.tenant, outcome.state) == ("Upper", "failed")
    assert dataset.ingest_waiting_drops(Workspace(root), ["alder"]) is None


def test_data_that_cannot_be_fetched_are_an_error(make_checkout):
    root = make_checkout(("alder",))
    (root / "data").rename(root.parent / "away")
    (root / ".dvc/cache").rename(root.parent / "cache")
    with pytest.raises(WorkspaceError, match="`dvc pull` with the remote 'local'"):
        dataset.ensure_data(Workspace(root))
    (root / ".dvc/config").write_text("")
    with pytest.raises(WorkspaceError, match="a DVC remote to pull; got none configured"):
        dataset.ensure_data(Workspace(root))
