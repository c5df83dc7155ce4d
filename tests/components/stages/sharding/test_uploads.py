"""Uploads in the background: the newest content wins, errors are tried again, and a stop ends the waiting."""

import threading

import pytest

from components.errors import WorkersError
from components.stages.sharding import uploads as module
from components.stages.sharding.uploads import BackgroundUploads, Upload


class FakeFolder:
    """Records the contents of the sets; fails as often as told, and waits for `open` before the first."""

    def __init__(self, failures=0):
        self.failures, self.sets = failures, []
        self.open, self.entered = threading.Event(), threading.Event()

    def put(self, name, folder, files):
        self.entered.set()
        self.open.wait()
        if self.failures:
            self.failures -= 1
            raise WorkersError("a store that answers", "503", "wait")
        self.sets.append((name, [(folder / file).read_text() for file in files]))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    monkeypatch.setattr(module, "_POLL_S", 0.01)


def write(folder, text):
    """As training does: a new file takes the old one's place."""
    (folder / "new").write_text(text)
    (folder / "new").replace(folder / "state")


def test_only_the_newest_of_the_waiting_contents_is_sent_and_each_is_whole(folder, tmp_path):
    target = FakeFolder()
    with BackgroundUploads(tmp_path) as uploads:
        write(folder, "step 1")
        uploads.add("alder: state", Upload(target, "state", folder, ["state"]))
        target.entered.wait()
        for step in (2, 3):
            write(folder, f"step {step}")
            uploads.add("alder: state", Upload(target, "state", folder, ["state"]))
        target.open.set()
        uploads.finish(lambda: False)
    assert target.sets == [("state", ["step 1"]), ("state", ["step 3"])]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_result_replaces_a_state_that_still_waits(folder, tmp_path):
    target = FakeFolder()
    write(folder, "end")
    with BackgroundUploads(tmp_path) as uploads:
        uploads.add("birch: state", Upload(target, "state", folder, ["state"]))
        target.entered.wait()
        uploads.add("alder: state", Upload(target, "state", folder, ["state"]))
        uploads.add("alder: trained", Upload(target, "trained", folder, ["state"]), instead_of="alder: state")
        target.open.set()
        uploads.finish(lambda: False)
    assert [name for name, _ in target.sets] == ["state", "trained"]


def test_a_failed_upload_is_logged_and_tried_again(folder, tmp_path, caplog):
    target = FakeFolder(failures=3)
    target.open.set()
    write(folder, "one")
    with BackgroundUploads(tmp_path) as uploads, caplog.at_level("WARNING", logger="prefixfleet"):
        uploads.add("alder: state", Upload(target, "state", folder, ["state"]))
        while target.failures:
            threading.Event().wait(0.01)
        uploads.finish(lambda: False)
    assert target.sets == [("state", ["one"])]
    assert "alder: state: not in the exchange yet, trying again: wanted a store that answers; got 503" in caplog.text


def test_the_end_raises_what_fails_again_and_again(folder, tmp_path):
    target = FakeFolder(failures=10**9)
    target.open.set()
    write(folder, "one")
    with BackgroundUploads(tmp_path) as uploads:
        uploads.add("alder: trained", Upload(target, "trained", folder, ["state"]))
        with pytest.raises(WorkersError, match="503"):
            uploads.finish(lambda: False)


def test_after_a_stop_the_end_waits_no_longer_than_a_moment(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "_STOP_WAIT_S", 0.05)
    target = FakeFolder()
    write(folder, "one")
    with BackgroundUploads(tmp_path) as uploads, caplog.at_level("WARNING", logger="prefixfleet"):
        uploads.add("alder: state", Upload(target, "state", folder, ["state"]))
        uploads.finish(lambda: True)
        target.open.set()
    assert "stopped before the last files were in the exchange" in caplog.text
