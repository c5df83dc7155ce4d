"""In-context learning: a few of a tenant's examples before the source, without training (Brown et al. 2020).

A prompt is `source <eos> target <eos>` for every demonstration, then `source <eos>`; each target has one space before
it, as in training. Similarity compares words; in scripts without spaces between words, characters and their pairs.
Knows texts, and tokenizers only as a function from text to ids. Does not know models or decoding.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from components.errors import ArtifactError, DataError
from components.model.text.words import split_words_and_symbols
from components.storage.json_text import parse_json

DemonstrationChoice = Literal["nearest", "random"]


@dataclass(frozen=True)
class Demonstrations:
    """A tenant's (source, target) pairs, and how many of them are shown before a source.

    Raises:
        DataError: no pairs, a text that is blank or not valid UTF-8, a count below 1, or an unknown choice.

    """

    pool: tuple[tuple[str, str], ...]
    count: int
    choice: DemonstrationChoice
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.pool:
            raise DataError("at least one example to show", "none", "give the tenant training data")
        if self.count < 1:
            raise DataError("at least one example to show", f"a count of {self.count}", "set a count of 1 or more")
        if self.choice not in get_args(DemonstrationChoice):
            raise DataError("a choice of nearest or random", repr(self.choice), "set one of the two")
        for number, pair in enumerate(self.pool, start=1):
            for text in pair:
                if not text.strip() or any("\ud800" <= letter <= "\udfff" for letter in text):
                    got = f"{text[:60]!r} in pair {number}"
                    raise DataError("texts that are not blank and are valid UTF-8", got, "check the drop again")

    def choose_pairs(self, source: str, *, leave_out_same: bool = False) -> list[tuple[str, str]]:
        """Choose the pairs to show before `source`, the nearest last; the whole pool if it has at most `count` pairs.

        "nearest" ranks by the cosine of TF-IDF vectors of words. Pairs with exactly this source rank first; ties keep
        the order of the pool. "random" depends only on the seed and the source. `leave_out_same` excludes pairs with
        exactly this source, for sources that come from the pool.
        """
        same = self._indices_by_source.get(source, [])
        if self.choice == "random":
            return [self.pool[index] for index in self._draw_indices(source, same if leave_out_same else [])]
        similarity = self._compute_similarity(source)
        similarity[same] = -1.0 if leave_out_same else 2.0
        count = min(self.count, len(self.pool))
        least = max(float(np.partition(similarity, -count)[-count]), 0.0)
        candidates = np.flatnonzero(similarity >= least).tolist()
        candidates.sort(key=lambda index: (-similarity[index], index))
        return [self.pool[index] for index in reversed(candidates[:count])]

    def encode_source(
        self,
        encode: Callable[[str], Sequence[int]],
        eos_id: int,
        source: str,
        token_budget: int,
        *,
        limit: int | None = None,
        leave_out_same: bool = False,
        joiner: str = " ",
    ) -> list[int]:
        """Encode demonstrations and source to at most `token_budget` ids; the least similar examples are dropped first.

        With `limit`, every source, including those of demonstrations, is cut to that many ids; targets are not cut.
        `encode` returns a text's ids without special tokens, and treats text such as "<|endoftext|>" as plain text.
        `joiner` is put before each target: "" if `encode` adds a space itself.

        Raises:
            DataError: the source alone does not fit.

        """
        ids = [*encode(source)[:limit], eos_id]
        if len(ids) > token_budget:
            shown = source if len(source) <= 60 else f"{source[:57]}..."
            fix = "shorten it, or set train.max_source_tokens to cut sources"
            raise DataError(f"a source of at most {token_budget} tokens", f"{len(ids)} tokens ({shown!r})", fix)
        for example, target in reversed(self.choose_pairs(source, leave_out_same=leave_out_same)):
            longer = [*encode(example)[:limit], eos_id, *encode(f"{joiner}{target}"), eos_id, *ids]
            if len(longer) > token_budget:
                break
            ids = longer
        return ids

    def to_tensor(self) -> Tensor:
        """Serialise all fields as UTF-8 JSON in a uint8 tensor, for a safetensors file."""
        text = json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> "Demonstrations":
        """Read a tensor that `to_tensor` has written.

        Raises:
            ArtifactError: the tensor differs by any byte from what `to_tensor` would write.

        """
        if tensor.dtype != torch.uint8 or tensor.dim() != 1:
            raise _make_format_error(f"{tensor.dtype} of shape {tuple(tensor.shape)}")
        data = tensor.cpu().numpy().tobytes()
        try:
            values = parse_json(data)
        except ValueError as error:
            raise _make_format_error(f"{len(data)} bytes that are not UTF-8 JSON ({type(error).__name__})") from error
        problem = _find_problem(values)
        if problem:
            raise _make_format_error(problem)
        try:
            read = cls(**{**values, "pool": tuple((source, target) for source, target in values["pool"])})
        except DataError as error:
            raise _make_format_error(f"{error.got} in place of {error.wanted}") from error
        if not torch.equal(read.to_tensor(), tensor.cpu()):
            raise _make_format_error("JSON in another format")
        return read

    @cached_property
    def _indices_by_source(self) -> dict[str, list[int]]:
        indices: dict[str, list[int]] = {}
        for index, (source, _) in enumerate(self.pool):
            indices.setdefault(source, []).append(index)
        return indices

    @cached_property
    def _fitted_vectorizer(self) -> tuple[Any, Any]:
        """The vectoriser, and the vectors of the pool's sources [pairs, words] as a sparse matrix."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(tokenizer=split_words_and_symbols, token_pattern=None)
        return vectorizer, vectorizer.fit_transform([source for source, _ in self.pool])

    def _compute_similarity(self, source: str) -> Any:
        vectorizer, vectors = self._fitted_vectorizer
        return (vectors @ vectorizer.transform([source]).T).toarray()[:, 0]

    def _draw_indices(self, source: str, without: Sequence[int]) -> list[int]:
        left = np.delete(np.arange(len(self.pool)), without)
        digest = hashlib.sha256(f"{self.seed}\0{source}".encode()).digest()
        # RandomState has a frozen stream; that of default_rng may change with numpy's version.
        shuffled = np.random.RandomState(np.frombuffer(digest, dtype="<u4")).permutation(left)
        return [int(index) for index in shuffled[: self.count]]


def _find_problem(values: object) -> str | None:
    names = sorted(field.name for field in fields(Demonstrations))
    if not isinstance(values, dict) or sorted(values) != names:
        return f"JSON that is not an object of {', '.join(names)}"
    if type(values["count"]) is not int or type(values["seed"]) is not int:
        return "a count or a seed that is not an integer"
    if not isinstance(values["choice"], str):
        return "a choice that is not a text"
    pool = values["pool"]
    if not isinstance(pool, list) or not all(_is_pair(pair) for pair in pool):
        return "a pool that is not a list of pairs of texts"
    return None


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def _make_format_error(got: str) -> ArtifactError:
    return ArtifactError("demonstrations as a uint8 tensor of their JSON", got, "export them again")
