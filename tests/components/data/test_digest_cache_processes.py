"""Several caches on one index: merged entries, killed writers, and full checks."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from digest_caches import FORGED, forge_index, open_cache, read_index, write
from waiting import wait_until

from components.data.digests import compute_file_digest


def test_saved_caches_are_merged_without_files_that_are_gone(tmp_path: Path) -> None:
    one, other, gone = (write(tmp_path / name, name.encode()) for name in ("one", "other", "gone"))
    first, second = open_cache(tmp_path), open_cache(tmp_path)
    first.digest_file(one), first.digest_file(gone), second.digest_file(other)
    gone.unlink()
    first.save()
    second.save()
    known = read_index(tmp_path)
    assert set(known) == {"one", "other"}


def test_an_index_survives_the_kill_of_its_writers(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}", f"{number}".encode()) for number in range(300)]
    script = f"""
import sys, pathlib, time
from components.data.digest_cache import DigestCache
root = pathlib.Path({str(tmp_path)!r})
while True:
    digests = DigestCache(root / "var" / "digests", root, full_check=True, now_ns=lambda: time.time_ns() + 10**11)
    for number in range(300):
        digests.digest_file(root / str(number))
    digests.save()
"""
    for wait_s in (0.3, 0.31, 0.33):
        writers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
        wait_until((tmp_path / "var" / "digests").exists, "a writer to save the index")
        time.sleep(wait_s)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        digests = open_cache(tmp_path)
        assert [digests.digest_file(path) for path in paths] == [compute_file_digest(path) for path in paths]
        forge_index(tmp_path)
        assert open_cache(tmp_path).digest_file(paths[0]) == FORGED
        (tmp_path / "var" / "digests").unlink()


def test_entries_that_a_full_check_did_not_read_are_dropped(tmp_path: Path) -> None:
    """A later process must not use entries that the full check of an earlier process ignored."""
    seen, unseen = (write(tmp_path / name, name.encode()) for name in ("seen", "unseen"))
    first = open_cache(tmp_path)
    assert first.digest_file(seen) != first.digest_file(unseen)
    first.save()
    forge_index(tmp_path)
    full = open_cache(tmp_path, full_check=True)
    full.digest_file(seen)
    full.save()
    beside = open_cache(tmp_path)
    assert [beside.digest_file(path) for path in (seen, unseen)] == [
        compute_file_digest(seen),
        compute_file_digest(unseen),
    ]
    beside.save()
    full.digest_file(write(tmp_path / "later", b"later"))
    full.save()
    assert set(read_index(tmp_path)) == {"seen", "unseen", "later"}


def test_a_full_check_that_reads_nothing_drops_all_entries(tmp_path: Path) -> None:
    path = write(tmp_path / "one", b"one")
    first = open_cache(tmp_path)
    first.digest_file(path)
    first.save()
    forge_index(tmp_path)
    open_cache(tmp_path, full_check=True).save()
    assert open_cache(tmp_path).digest_file(path) == compute_file_digest(path)
