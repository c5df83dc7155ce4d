"""A worker's cache of bases: fetched once from the exchange, checked by digest before every use.

    <home>/bases/<model digest>-<tokenizer digest>/<name>/   the files; the folder's name is the base's name

Several workers may share one home: one fetches, the others wait. Does not know tenants.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import BaseModelError, WorkersError
from components.model.base.digests import compute_model_digest, compute_tokenizer_digest
from components.stages.progress import log_info
from components.stages.sharding.exchange_sets import BASE_SET, locate_base
from components.storage.atomic_files import hold_file_lock
from components.storage.exchange import Exchange

_LOCK_WAIT_S = 3600.0
_FIX = "start the parent's run again, which sends the base again"


def fetch_base(exchange: Exchange, facts: Mapping[str, Any], cache: Path) -> Path:
    """Return the folder of the base with these facts (the content of base.json); it is fetched if it is not there.

    A damaged copy is fetched again.

    Raises:
        WorkersError: the exchange does not answer, or has no such base or another one.
        WorkspaceError: the disk is full, or another process holds the lock for an hour.
    """
    name = str(facts["name"])
    if not name or Path(name).name != name:
        raise WorkersError("a base whose name is a folder's name", repr(name), _FIX)
    parts = locate_base(facts)
    place = cache / parts[-1]
    folder = place / name
    waiting = f"waiting for another worker that fetches the base {name}"
    with hold_file_lock(
        place.with_name(f"{place.name}.lock"),
        folder,
        "try again",
        wait_s=_LOCK_WAIT_S,
        on_wait=lambda: log_info(waiting),
    ):
        found = _compute_digests(folder)
        if found != _list_digests(facts):
            log_info(f"fetching the base {name} from the exchange" + (": the copy here is damaged" if found else ""))
            _fetch(exchange, facts, folder)
    return folder


def _fetch(exchange: Exchange, facts: Mapping[str, Any], folder: Path) -> None:
    wanted = f"the base {folder.name} in the exchange, with digest {facts['files_digest'][:12]}"
    if not exchange.open(*locate_base(facts)).fetch(BASE_SET, folder):
        raise WorkersError(wanted, "none", _FIX)
    found = _compute_digests(folder)
    if found != _list_digests(facts):
        got = f"model {found[0][:12]} and tokenizer {found[1][:12]}" if found else "files that are no base"
        raise WorkersError(wanted, got, _FIX)


def _list_digests(facts: Mapping[str, Any]) -> tuple[str, str]:
    return str(facts["files_digest"]), str(facts["tokenizer_files_digest"])


def _compute_digests(folder: Path) -> tuple[str, str] | None:
    """Return the digests of the model and of the tokenizer's files; None if the folder has no whole base."""
    try:
        return compute_model_digest(folder), compute_tokenizer_digest(folder)
    except BaseModelError:
        return None
