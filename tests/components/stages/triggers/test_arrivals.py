"""Deliveries in a watched folder become drops and causes exactly once, wherever the watcher is killed."""

import os
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.data import arrivals as transfer
from components.data.drops import list_pending
from components.errors import ConfigError
from components.rollout.store.causes import read_newest_causes
from components.stages.triggers import arrivals
from components.stages.triggers.arrivals import find_source_files, look_for_arrivals
from components.stages.workspace import Workspace

QUIET_S = 30.0
NEVER_KILLED = 10**9


class KilledError(BaseException):
    """The process ends here."""


class Killer:
    """Kills at the n-th effect on the disk, the store or the database."""

    def __init__(self, monkeypatch):
        self.left = NEVER_KILLED
        for module, name in (
            (transfer, "fetch_delivery"),
            (arrivals, "open_causes"),
            (arrivals, "write_seen_files"),
            (transfer, "place_delivery"),
            (transfer, "append_lines"),
        ):
            monkeypatch.setattr(module, name, self.wrap(getattr(module, name)))

    def wrap(self, effect):
        def work(*arguments):
            self.step()
            done = effect(*arguments)
            self.step()
            return done

        return work

    def step(self):
        self.left -= 1
        if self.left == 0:
            raise KilledError


@pytest.fixture
def watched(make_root, tmp_path):
    """A workspace that watches a folder beside it."""
    root = make_root(("alder",), triggers={"arrival": {"source": "../incoming", "quiet_seconds": QUIET_S}})
    (tmp_path / "incoming").mkdir()
    return root


def deliver(root, tenant="alder", split="train", lines=("{}",), at_s=1_000):
    path = root.parent / "incoming" / tenant / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    os.utime(path, (at_s, at_s))


def list_causes(root):
    return [(one.tenant, one.kind) for one in reversed(read_newest_causes(Workspace(root).database, 100))]


def test_a_delivery_is_taken_once_when_it_has_been_quiet(watched):
    deliver(watched)
    first = look_for_arrivals(Workspace(watched), lambda: 100.0)
    assert (first.opened, first.waiting) == ([], ["alder"])
    assert list_pending(watched / "drops") == []
    second = look_for_arrivals(Workspace(watched), lambda: 130.0)
    assert [(one.tenant, one.kind) for one in second.opened] == [("alder", "arrival")]
    assert second.opened[0].why.startswith("new data arrived (train, delivery ")
    assert (watched / "drops" / "alder" / "train.jsonl").read_text() == "{}\n"
    assert (watched.parent / "incoming" / "alder" / "train.jsonl").exists(), "the source is only read"
    for now_s in (131.0, 1e6):
        third = look_for_arrivals(Workspace(watched), lambda now_s=now_s: now_s)
        assert (third.opened, third.waiting) == ([], [])


def test_a_second_delivery_brings_only_the_file_that_is_new(watched):
    deliver(watched)
    deliver(watched, split="test")
    for now_s in (0.0, QUIET_S):
        look_for_arrivals(Workspace(watched), lambda now_s=now_s: now_s)
    for path in (watched / "drops" / "alder").iterdir():
        path.unlink()
    deliver(watched, lines=["{}"], at_s=2_000)  # the same content, sent again
    for now_s in (100.0, 130.0):
        look_for_arrivals(Workspace(watched), lambda now_s=now_s: now_s)
    assert [path.name for path in (watched / "drops" / "alder").iterdir()] == ["train.jsonl"]
    assert list_causes(watched) == [("alder", "arrival")] * 2


def test_the_drops_folder_itself_can_be_watched(make_root, write_tenant):
    root = make_root(("alder",), triggers={"arrival": {"quiet_seconds": 0.0}})
    write_tenant(root / "drops", "alder")
    (root / "drops" / "README").touch()
    look = look_for_arrivals(Workspace(root), lambda: 1.0)
    assert [one.tenant for one in look.opened] == ["alder"]
    assert look.strays == ["README"]
    assert look_for_arrivals(Workspace(root), lambda: 2.0).opened == []
    assert len(list((root / "drops" / "alder").iterdir())) == 3


def test_without_a_configuration_nothing_is_looked_for(make_root, write_tenant):
    root = make_root(("alder",))
    write_tenant(root / "drops", "alder")
    assert look_for_arrivals(Workspace(root)).opened == []
    assert not (root / "var" / "prefixfleet.db").exists()


@pytest.mark.parametrize("source", ["http://example.org/drops", "s3://key:secret@bucket/drops", "s3://"])
def test_a_source_that_cannot_be_watched_is_named_without_its_secrets(make_root, source):
    root = make_root(("alder",), triggers={"arrival": {"source": source}})
    with pytest.raises(ConfigError, match=r"triggers\.arrival\.source") as caught:
        look_for_arrivals(Workspace(root))
    assert "secret" not in str(caught.value)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(1, 14), max_size=4), waiting=st.booleans())
def test_no_delivery_is_lost_or_counted_twice_wherever_the_watcher_is_killed(
    make_root_in, tmp_path_factory, kills, waiting
):
    folder = tmp_path_factory.mktemp("killed")
    root = make_root_in(folder, ("alder",), triggers={"arrival": {"source": "../incoming", "quiet_seconds": QUIET_S}})
    (folder / "incoming").mkdir()
    if waiting:
        (root / "drops" / "alder").mkdir(parents=True)
        (root / "drops" / "alder" / "train.jsonl").write_text("old\n")
    deliver(root, lines=["1", "2"])
    deliver(root, split="test", lines=["3"])
    now_s = 0.0
    with pytest.MonkeyPatch.context() as monkeypatch:
        killer = Killer(monkeypatch)
        for left in [*kills, NEVER_KILLED, NEVER_KILLED]:
            killer.left, now_s = left, now_s + QUIET_S
            with suppress(KilledError):
                look_for_arrivals(Workspace(root), lambda: now_s)  # noqa: B023
    assert list_causes(root) == [("alder", "arrival")]
    assert (root / "drops" / "alder" / "train.jsonl").read_text() == ("old\n" if waiting else "") + "1\n2\n"
    assert (root / "drops" / "alder" / "test.jsonl").read_text() == "3\n"
    assert list((root / "drops" / ".arriving").iterdir()) == []


def test_a_forgotten_tenant_s_files_in_the_source_are_found(watched):
    deliver(watched)
    deliver(watched, "alder-2")
    workspace = Workspace(watched)
    url = (watched.parent / "incoming").as_uri()
    assert find_source_files(workspace, "alder") == [f"{url}/alder/train.jsonl"]
    assert find_source_files(workspace, "birch") == []
