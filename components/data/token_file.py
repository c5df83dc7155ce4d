"""Encoded pairs in a file that is mapped into memory: encoded once, whoever trains on them again or goes on.

    <file>.safetensors    ids (int32 [N]) and sizes (int32 [R, 2]); the header holds what they were made from, as a
                          digest, and the tensors' own

A file that was made from something else, or is damaged, is made again; one that cannot be written costs encoding the
next time, and is told. Knows no tenant and no training.

Shapes: R pairs, 2 for source and target, N tokens of all pairs.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from components.data.pairs import Pairs, Texts
from components.errors import WorkspaceError
from components.storage.atomic_files import sweep, write_atomic

_FORMAT = "prefixfleet tokens 1"
_HEADER = "prefixfleet"
_UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenFile:
    """Where the pairs of some texts are kept under the tokenizer of this digest; one writer at a time."""

    path: Path
    tokenizer_digest: str

    def pairs(self, texts: Texts, more: Sequence[Any], encode: Callable[[], Pairs]) -> Pairs:
        """What the file holds of `texts`, or what `encode` makes of them now; `more` (JSON) decides their ids too."""
        made_from = _sha256(json.dumps([_FORMAT, self.tokenizer_digest, *more, texts]).encode())
        found = self._read(made_from)
        if found is not None:
            return found
        pairs = encode()
        try:
            sweep(self.path)
            write_atomic(self.path, _content(pairs, made_from))
        except WorkspaceError as problem:
            _log.warning("token ids are not kept: %s", problem)
            return pairs
        found = self._read(made_from)
        return pairs if found is None else found

    def _read(self, made_from: str) -> Pairs | None:
        try:
            with safe_open(self.path, framework="pt") as content:  # numpy's way would read what torch's maps
                header = json.loads((content.metadata() or {})[_HEADER])
                if header["made_from"] != made_from:
                    return None
                ids_N, sizes_R2 = (content.get_tensor(name).numpy() for name in ("ids", "sizes"))
        except _UNREADABLE:
            return None
        return Pairs.end_to_end(ids_N, sizes_R2) if header["sha256"] == _sha256(ids_N.data, sizes_R2.data) else None


def _content(pairs: Pairs, made_from: str) -> bytes:
    tensors = {"ids": pairs.ids_N, "sizes": pairs.sizes_R2}
    header = {"made_from": made_from, "sha256": _sha256(pairs.ids_N.data, pairs.sizes_R2.data)}
    return save(tensors, metadata={_HEADER: json.dumps(header)})


def _sha256(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
