"""In-context learning: a few of a tenant's own examples before the source, and nothing trained (Brown et al. 2020).

A prompt is `source <eos> target <eos>` of every demonstration and then `source <eos>`, each target with one space
before it, as in training. Knows texts, and tokenizers only as a function from text to ids. Does not know models or
decoding. Likeness is of whole words: text written without spaces is compared by its runs of letters.
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

DemonstrationChoice = Literal["nearest", "random"]
_WORDS = r"(?u)\w+|[^\w\s]"


@dataclass(frozen=True)
class Demonstrations:
    """A tenant's (source, target) pairs and how many of them to show before a source.

    Raises:
        DataError: no pairs, a text that is blank or that UTF-8 cannot hold, a count below 1, or an unknown choice.

    """

    pool: tuple[tuple[str, str], ...]
    count: int
    choice: DemonstrationChoice
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what could not be shown or written down."""
        if not self.pool:
            raise DataError("at least one example to show", "none", "give the tenant training data")
        if self.count < 1:
            raise DataError("at least one example to show", f"a count of {self.count}", "set a count of 1 or more")
        if self.choice not in get_args(DemonstrationChoice):
            raise DataError("a choice of nearest or random", repr(self.choice), "use one of the two")
        for number, pair in enumerate(self.pool, start=1):
            for text in pair:
                if not text.strip() or any("\ud800" <= letter <= "\udfff" for letter in text):
                    got = f"{text[:60]!r} in pair {number}"
                    raise DataError("texts that are not blank and that UTF-8 can hold", got, "check the drop again")

    def choose_pairs(self, source: str, *, leave_out_same: bool = False) -> list[tuple[str, str]]:
        """The pairs to show before `source`, the nearest last; all of the pool where it holds no more than `count`.

        Nearest is the cosine of TF-IDF vectors of words; a pair of the very same source comes before all others, and
        of equals the first in the pool. Random depends on the seed and the source alone. `leave_out_same` leaves out
        every pair of the very same source, for sources that are themselves of the pool.
        """
        same = self._indices_by_source.get(source, [])
        if self.choice == "random":
            return [self.pool[index] for index in self._draw_indices(source, same if leave_out_same else [])]
        likeness = self._compute_similarity(source)
        likeness[same] = -1.0 if leave_out_same else 2.0
        count = min(self.count, len(self.pool))
        least = max(float(np.partition(likeness, -count)[-count]), 0.0)
        candidates = np.flatnonzero(likeness >= least).tolist()
        candidates.sort(key=lambda index: (-likeness[index], index))
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
    ) -> list[int]:
        """Ids of the demonstrations and the source, at most `token_budget`; the farthest examples are dropped first.

        Every source, a demonstration's as well, is cut to `limit` ids where that is set; targets stay whole. `encode`
        gives a text's ids without special tokens, and makes none of words such as "<|endoftext|>".

        Raises:
            DataError: the source alone does not fit.

        """
        ids = [*encode(source)[:limit], eos_id]
        if len(ids) > token_budget:
            shown = source if len(source) <= 60 else f"{source[:57]}..."
            fix = "shorten it, or set train.max_source_tokens to cut sources"
            raise DataError(f"a source of at most {token_budget} tokens", f"{len(ids)} tokens ({shown!r})", fix)
        for example, target in reversed(self.choose_pairs(source, leave_out_same=leave_out_same)):
            longer = [*encode(example)[:limit], eos_id, *encode(f" {target}"), eos_id, *ids]
            if len(longer) > token_budget:
                break
            ids = longer
        return ids

    def to_tensor(self) -> Tensor:
        """All of it as UTF-8 JSON in a uint8 tensor, for a safetensors file."""
        text = json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> "Demonstrations":
        """Read what `to_tensor` wrote, and nothing else.

        Raises:
            ArtifactError: the tensor is not of that form to the byte.

        """
        if tensor.dtype != torch.uint8 or tensor.dim() != 1:
            raise _make_format_error(f"{tensor.dtype} of shape {tuple(tensor.shape)}")
        data = tensor.cpu().numpy().tobytes()
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _make_format_error(f"{len(data)} bytes that are no UTF-8 JSON ({type(error).__name__})") from error
        problem = _find_problem(values)
        if problem:
            raise _make_format_error(problem)
        try:
            read = cls(**{**values, "pool": tuple((source, target) for source, target in values["pool"])})
        except DataError as error:
            raise _make_format_error(f"{error.got}, where it wants {error.wanted}") from error
        if not torch.equal(read.to_tensor(), tensor.cpu()):
            raise _make_format_error("JSON in another layout")
        return read

    @cached_property
    def _indices_by_source(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for index, (source, _) in enumerate(self.pool):
            places.setdefault(source, []).append(index)
        return places

    @cached_property
    def _fitted_vectorizer(self) -> tuple[Any, Any]:
        """The vectoriser, and the pool's vectors [pairs, words] as a sparse matrix."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(token_pattern=_WORDS)
        return vectorizer, vectorizer.fit_transform([source for source, _ in self.pool])

    def _compute_similarity(self, source: str) -> Any:
        vectorizer, vectors = self._fitted_vectorizer
        return (vectors @ vectorizer.transform([source]).T).toarray()[:, 0]

    def _draw_indices(self, source: str, without: Sequence[int]) -> list[int]:
        left = np.delete(np.arange(len(self.pool)), without)
        digest = hashlib.sha256(f"{self.seed}\0{source}".encode()).digest()
        # RandomState: its stream is frozen, where default_rng's may change with numpy.
        shuffled = np.random.RandomState(np.frombuffer(digest, dtype="<u4")).permutation(left)
        return [int(index) for index in shuffled[: self.count]]


def _find_problem(values: object) -> str | None:
    names = sorted(field.name for field in fields(Demonstrations))
    if not isinstance(values, dict) or sorted(values) != names:
        return f"JSON that is no object of {', '.join(names)}"
    if type(values["count"]) is not int or type(values["seed"]) is not int:
        return "a count or a seed that is no whole number"
    if not isinstance(values["choice"], str):
        return "a choice that is no text"
    pool = values["pool"]
    if not isinstance(pool, list) or not all(_is_pair(pair) for pair in pool):
        return "a pool that is no list of pairs of texts"
    return None


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def _make_format_error(got: str) -> ArtifactError:
    return ArtifactError("demonstrations as a uint8 tensor of their JSON", got, "export them again")
