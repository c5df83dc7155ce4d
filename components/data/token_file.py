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

from components.data.pairs import TextPairs, TokenizedPairs
from components.errors import WorkspaceError
from components.storage.atomic_files import remove_temporaries, write_atomic

_FORMAT_NAME = "prefixfleet tokens 1"
_METADATA_KEY = "prefixfleet"
_UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenFile:
    """Where the pairs of some texts are kept under the tokenizer of this digest; one writer at a time."""

    path: Path
    tokenizer_digest: str

    def read_or_encode(
        self, texts: TextPairs, settings: Sequence[Any], encode: Callable[[], TokenizedPairs]
    ) -> TokenizedPairs:
        """What the file holds of `texts`, or what `encode` makes of them now.

        `settings` (JSON) decides their ids too.
        """
        made_from = _hash_parts(json.dumps([_FORMAT_NAME, self.tokenizer_digest, *settings, texts]).encode())
        found = self._read(made_from)
        if found is not None:
            return found
        pairs = encode()
        try:
            remove_temporaries(self.path)
            write_atomic(self.path, _format_content(pairs, made_from))
        except WorkspaceError as problem:
            _log.warning("token ids are not kept: %s", problem)
            return pairs
        found = self._read(made_from)
        return pairs if found is None else found

    def _read(self, made_from: str) -> TokenizedPairs | None:
        try:
            with safe_open(self.path, framework="pt") as content:  # numpy's way would read what torch's maps
                header = json.loads((content.metadata() or {})[_METADATA_KEY])
                if header["made_from"] != made_from:
                    return None
                ids_N, sizes_R2 = (content.get_tensor(name).numpy() for name in ("ids", "sizes"))
        except _UNREADABLE:
            return None
        return (
            TokenizedPairs.from_contiguous(ids_N, sizes_R2)
            if header["sha256"] == _hash_parts(ids_N.data, sizes_R2.data)
            else None
        )


def _format_content(pairs: TokenizedPairs, made_from: str) -> bytes:
    tensors = {"ids": pairs.ids_N, "sizes": pairs.sizes_R2}
    header = {"made_from": made_from, "sha256": _hash_parts(pairs.ids_N.data, pairs.sizes_R2.data)}
    return save(tensors, metadata={_METADATA_KEY: json.dumps(header)})


def _hash_parts(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
