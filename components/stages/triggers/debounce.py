"""When a delivery of several files is complete: once none of its new files has changed for the quiet time.

Pure: listings and clocks are passed in. A file's content is known by the time at which it was written, by the store's
clock; how long it has been unchanged is measured by the watcher's own clock, so the two clocks may differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from components.rollout.store.arrivals import SeenFile


def observe_files(before: Mapping[str, SeenFile], listing: Mapping[str, str], now_s: float) -> dict[str, SeenFile]:
    """Return what is seen now: `listing` is name -> time of writing. Files that are gone are forgotten.

    A file that is new or has changed is unchanged since now; so is one seen in what is now the future, as the clock was
    set back.
    """
    seen = {}
    for name, modified in listing.items():
        known = before.get(name)
        if known is None:
            seen[name] = SeenFile(modified=modified, since_s=now_s)
        elif known.modified != modified or known.since_s > now_s:
            seen[name] = replace(known, modified=modified, since_s=now_s)
        else:
            seen[name] = known
    return seen


def find_ready_files(files: Mapping[str, SeenFile], now_s: float, quiet_s: float) -> list[str]:
    """Return the names of one tenant's files to take, sorted; none while one of them may still be written."""
    new = sorted(name for name, one in files.items() if one.is_new)
    return new if all(now_s - files[name].since_s >= quiet_s for name in new) else []


def mark_taken(files: Mapping[str, SeenFile], names: Iterable[str]) -> dict[str, SeenFile]:
    """Return the files with the present content of the named ones as taken."""
    return {**files, **{name: replace(files[name], taken=files[name].modified) for name in names}}
