"""A file of encoded pairs, mapped into memory, so that retraining and resuming do not encode the texts again.

    <file>.safetensors    ids (int32 [N]), sizes (int32 [R, 2]) and, with conversations, mask (bool [N]); the header has
                          a digest of the texts, the tokenizer and the settings, and a digest of the tensors

A file of other texts or settings, or a damaged one, is written again. If it cannot be written, a warning is logged and
the pairs are encoded again next time. Knows no tenant and no training.

Shapes: R pairs, 2 for source and target, N tokens of all pairs.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from components.data.pairs import TextPairs, TokenizedPairs
from components.errors import WorkspaceError
from components.storage.atomic_files import remove_temporaries, write_atomic
from components.storage.json_text import parse_json

_FORMAT_NAME = "prefixfleet tokens 1"
_METADATA_KEY = "prefixfleet"
_UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The file of the encoded pairs of some texts under one tokenizer; only one process may write at a time."""

    path: Path
    tokenizer_digest: str

    def read_or_encode(
        self, texts: TextPairs, settings: Sequence[Any], encode: Callable[[], TokenizedPairs]
    ) -> TokenizedPairs:
        """Return the pairs of `texts` from the file if it holds them, else encode them and write the file.

        `settings` (serialisable as JSON) are the encoder's options that change the ids.
        """
        made_from = _hash_parts(json.dumps([_FORMAT_NAME, self.tokenizer_digest, *settings, texts]).encode())
        kept = self._read(made_from)
        if kept is not None:
            return kept
        pairs = encode()
        try:
            remove_temporaries(self.path)
            write_atomic(self.path, _format_content(pairs, made_from))
        except WorkspaceError as problem:
            _log.warning("token ids are not stored and will be encoded again next time: %s", problem)
            return pairs
        kept = self._read(made_from)
        return pairs if kept is None else kept

    def _read(self, made_from: str) -> TokenizedPairs | None:
        try:
            with safe_open(self.path, framework="pt") as content:  # "pt" maps the file; "np" would read it
                header = parse_json((content.metadata() or {})[_METADATA_KEY])
                if header["made_from"] != made_from:
                    return None
                ids_N, sizes_R2 = (content.get_tensor(name).numpy() for name in ("ids", "sizes"))
                mask_N = content.get_tensor("mask").numpy() if "mask" in content.keys() else None  # noqa: SIM118
        except _UNREADABLE:
            return None
        pairs = TokenizedPairs.from_contiguous(ids_N, sizes_R2, mask_N)
        return pairs if header["sha256"] == _hash_pairs(pairs) else None


def _format_content(pairs: TokenizedPairs, made_from: str) -> bytes:
    tensors: dict[str, NDArray[Any]] = {"ids": pairs.ids_N, "sizes": pairs.sizes_R2}
    if pairs.mask_N is not None:
        tensors["mask"] = pairs.mask_N
    header = {"made_from": made_from, "sha256": _hash_pairs(pairs)}
    return save(tensors, metadata={_METADATA_KEY: json.dumps(header)})


def _hash_pairs(pairs: TokenizedPairs) -> str:
    mask = () if pairs.mask_N is None else (pairs.mask_N.data,)
    return _hash_parts(pairs.ids_N.data, pairs.sizes_R2.data, *mask)


def _hash_parts(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
