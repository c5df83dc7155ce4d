"""The search space of a tuning: labelled choices and a range of learning rates. Pure; knows no study and no file.

The result of prefix-tuning depends on the prefix length, the learning rate and initialization from real words (Li &
Liang 2021, sections 7.2 and 7.4). For other methods a size takes the place of the length.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from components.config import TrainConfig
from components.errors import ConfigError
from components.model.delta import SLOT_METHODS

TrainFields = Mapping[str, Any]
"""Values of `TrainConfig` by field."""
SearchPoint = Mapping[str, str | float]
"""One point of a space: dimension -> label of a choice, or a learning rate."""

RATE_DIMENSION = "learning rate"
DEFAULT_LENGTHS = (1, 5, 10, 20)
_OWN_WORDS, _RANDOM = "own words", "random"
_SIZE_DIMENSIONS: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "top-k": ("layers", "top_layers", (1, 2, 4)),
    "adapter": ("size", "adapter_size", (8, 16, 32, 64)),
    "lora": ("rank", "lora_rank", (2, 4, 8, 16)),
    "in-context": ("demonstrations", "demonstrations", (1, 2, 4, 8)),
}


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The user's wishes for the space; None: the method's default."""

    lengths: Sequence[int] | None = None
    rates: tuple[float, float] | None = None
    init_texts: Sequence[str] = ()
    sizes: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The dimensions of a search: labelled choices of `TrainConfig` values, and a range of learning rates.

    `choices` maps dimension -> label -> values. `rates` is drawn log-uniformly; None: the learning rate is fixed.
    """

    choices: Mapping[str, Mapping[str, TrainFields]]
    rates: tuple[float, float] | None = None
    _names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Collect the names of the searched fields."""
        chosen = {name for options in self.choices.values() for fields in options.values() for name in fields}
        object.__setattr__(self, "_names", tuple(sorted(chosen | ({"learning_rate"} if self.rates else set()))))

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the dimensions, in the order of a table's columns."""
        return (*self.choices, *([RATE_DIMENSION] if self.rates else []))

    def select_searched(self, config: TrainConfig) -> TrainFields:
        """Return a config's values of the searched fields."""
        return {name: getattr(config, name) for name in self._names}

    def select_fixed(self, config: TrainConfig) -> TrainFields:
        """Return a config's values of all other fields, as JSON values."""
        return {name: value for name, value in config.model_dump(mode="json").items() if name not in self._names}

    def to_fields(self, point: SearchPoint) -> TrainFields:
        """Return a point's values. The learning rate is rounded to three digits before it is tried and written."""
        values: dict[str, Any] = {}
        for name, options in self.choices.items():
            values |= options[str(point[name])]
        if self.rates:
            low, high = self.rates
            values["learning_rate"] = min(max(float(f"{point[RATE_DIMENSION]:.3g}"), low), high)
        return values

    def to_point(self, fields: TrainFields) -> SearchPoint:
        """Return the point of these values; a dimension in which they are outside the space is left out."""
        point: dict[str, str | float] = {}
        for name, options in self.choices.items():
            inside = [label for label, option in options.items() if option.items() <= fields.items()]
            point.update((name, label) for label in inside[:1])
        if self.rates and self.rates[0] <= fields["learning_rate"] <= self.rates[1]:
            point[RATE_DIMENSION] = fields["learning_rate"]
        return point

    def format_fields(self, fields: TrainFields) -> tuple[str, ...]:
        """Return the values as text, one a dimension, even where they are outside the space."""
        inside = self.to_point(fields)
        cells = []
        for name, options in self.choices.items():
            own = next(iter(options.values()))
            outside = ", ".join(str(fields[key]) for key in own if fields.get(key) is not None)
            cells.append(str(inside.get(name, outside or "by share")))
        return (*cells, *([f"{fields['learning_rate']:g}"] if self.rates else []))

    def iterate_points(self) -> Iterator[SearchPoint]:
        """Yield every point of a space without a range of learning rates."""
        for labels in product(*self.choices.values()):
            yield dict(zip(self.choices, labels, strict=True))


def make_search_space(config: TrainConfig, options: SearchOptions) -> SearchSpace:
    """Return the search space of a config's method.

    Raises:
        ConfigError: an impossible value, or an option that the method does not have.
    """
    method, kind = config.method, config.method.rpartition("+")[2]
    slots = method in SLOT_METHODS
    _refuse_options(
        {
            "--lengths": options.lengths is not None and not slots,
            "--init-texts": bool(options.init_texts) and not slots,
            "--sizes": options.sizes is not None and kind not in _SIZE_DIMENSIONS,
            "--learning-rates": options.rates is not None and method == "in-context",
        },
        method,
    )
    choices: dict[str, Mapping[str, TrainFields]] = {}
    if slots:
        choices["length"] = _make_number_choices(
            "prefix_length", options.lengths or DEFAULT_LENGTHS, "--lengths", most=1024
        )
        choices["start"] = _make_start_choices(options.init_texts)
    if kind in _SIZE_DIMENSIONS:
        name, field_, usual = _SIZE_DIMENSIONS[kind]
        choices[name] = _make_number_choices(field_, options.sizes or usual, "--sizes")
    if method == "in-context":
        choices["choice"] = {one: {"demonstration_choice": one} for one in ("nearest", "random")}
        return SearchSpace(choices)
    low, high = options.rates or find_default_rates(config)
    if not 0 < low <= high < float("inf"):
        fix = "pass two numbers above zero, such as 0.05..0.5"
        raise ConfigError("learning rates LOW..HIGH with 0 < LOW <= HIGH", f"--learning-rates {low:g}..{high:g}", fix)
    if low == high:
        return SearchSpace({**choices, RATE_DIMENSION: {f"{low:g}": {"learning_rate": low}}})
    return SearchSpace(choices, (low, high))


def find_default_rates(config: TrainConfig) -> tuple[float, float]:
    """Return a range that usually holds a good learning rate: high for keys and values, low for an MLP or weights.

    The range without an MLP comes from small bases, see docs/log.md.
    """
    kind = config.method.rpartition("+")[2]
    if kind in ("full", "top-k"):
        return 1e-5, 2e-3
    if config.method in ("adapter", "lora"):
        return 1e-4, 1e-2
    if config.mlp_hidden:
        return 1e-5, 1e-2
    return (1e-3, 0.1) if "+" in config.method else (0.05, 0.5)


def _make_start_choices(texts: Sequence[str]) -> Mapping[str, TrainFields]:
    if any(not text.strip() for text in texts):
        raise ConfigError("a text to start from", "an empty --init-texts", "pass a phrase that names the task")
    own = {_OWN_WORDS: {"initialization": "text", "init_text": None}}
    given = {f'"{text}"': {"initialization": "text", "init_text": text} for text in texts}
    return {**own, **given, _RANDOM: {"initialization": "random"}}


def _make_number_choices(
    field_: str, values: Sequence[int], option: str, most: int | None = None
) -> Mapping[str, TrainFields]:
    for value in values:
        if value < 1 or (most is not None and value > most):
            wanted = f"{option} from 1 {f'to {most}' if most else 'up'}"
            raise ConfigError(wanted, str(value), "pass whole numbers separated by commas, such as 1,5,10")
    return {str(value): {field_: value} for value in sorted(set(values))}


def _refuse_options(wrong: Mapping[str, bool], method: str) -> None:
    for option, is_wrong in wrong.items():
        if is_wrong:
            raise ConfigError(f"options of method {method}", option, "leave it out, or set another train.method")
