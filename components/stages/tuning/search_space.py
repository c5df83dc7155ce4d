"""What a tuning may try for a method: choices by name and a range of learning rates. Pure; knows no study and no file.

Results of prefix-tuning hang on the prefix's length, the learning rate and the start from real words (Li & Liang 2021,
sections 7.2 and 7.4); other methods have a size in the place of the length.
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
"""One place in a space: a choice's label, or a learning rate, by dimension."""

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
    """What a user asks for; None takes what suits the method."""

    lengths: Sequence[int] | None = None
    rates: tuple[float, float] | None = None
    init_texts: Sequence[str] = ()
    sizes: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The dimensions of a search: labelled choices of fields, and learning rates drawn log-uniformly."""

    choices: Mapping[str, Mapping[str, TrainFields]]
    rates: tuple[float, float] | None = None
    _names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Gather the fields that the space decides on."""
        chosen = {name for options in self.choices.values() for fields in options.values() for name in fields}
        object.__setattr__(self, "_names", tuple(sorted(chosen | ({"learning_rate"} if self.rates else set()))))

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names for people, in the order of a table's columns."""
        return (*self.choices, *([RATE_DIMENSION] if self.rates else []))

    def select_searched(self, config: TrainConfig) -> TrainFields:
        """What a config has in the searched fields."""
        return {name: getattr(config, name) for name in self._names}

    def select_fixed(self, config: TrainConfig) -> TrainFields:
        """A config's other fields, as JSON values."""
        return {name: value for name, value in config.model_dump(mode="json").items() if name not in self._names}

    def to_fields(self, point: SearchPoint) -> TrainFields:
        """The values of a point; learning rates keep three digits, so that what is written down is what was tried."""
        values: dict[str, Any] = {}
        for name, options in self.choices.items():
            values |= options[str(point[name])]
        if self.rates:
            low, high = self.rates
            values["learning_rate"] = min(max(float(f"{point[RATE_DIMENSION]:.3g}"), low), high)
        return values

    def to_point(self, fields: TrainFields) -> SearchPoint:
        """The place of some values, as far as they lie in the space."""
        found: dict[str, str | float] = {}
        for name, options in self.choices.items():
            inside = [label for label, option in options.items() if option.items() <= fields.items()]
            found.update((name, label) for label in inside[:1])
        if self.rates and self.rates[0] <= fields["learning_rate"] <= self.rates[1]:
            found[RATE_DIMENSION] = fields["learning_rate"]
        return found

    def format_fields(self, fields: TrainFields) -> tuple[str, ...]:
        """Values for people, one a dimension, also where they lie outside the space."""
        inside = self.to_point(fields)
        cells = []
        for name, options in self.choices.items():
            own = next(iter(options.values()))
            outside = ", ".join(str(fields[key]) for key in own if fields.get(key) is not None)
            cells.append(str(inside.get(name, outside or "by share")))
        return (*cells, *([f"{fields['learning_rate']:g}"] if self.rates else []))

    def iterate_points(self) -> Iterator[SearchPoint]:
        """Every point of a space without a range."""
        for labels in product(*self.choices.values()):
            yield dict(zip(self.choices, labels, strict=True))


def make_search_space(config: TrainConfig, options: SearchOptions) -> SearchSpace:
    """The space of a config's method.

    Raises:
        ConfigError: an impossible value, or one for what the method does not have.
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
        fix = "give a low and a high one above zero, as 0.05..0.5"
        raise ConfigError("learning rates LOW..HIGH with 0 < LOW <= HIGH", f"--learning-rates {low:g}..{high:g}", fix)
    if low == high:
        return SearchSpace({**choices, RATE_DIMENSION: {f"{low:g}": {"learning_rate": low}}})
    return SearchSpace(choices, (low, high))


def find_default_rates(config: TrainConfig) -> tuple[float, float]:
    """Where good learning rates lie: keys and values themselves want high ones, an MLP or the base's weights low ones.

    The rates without an MLP are those of small bases in docs/log.md.
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
        raise ConfigError("words to start from", "--init-texts with an empty text", "give a phrase that names the task")
    own = {_OWN_WORDS: {"initialization": "text", "init_text": None}}
    given = {f'"{text}"': {"initialization": "text", "init_text": text} for text in texts}
    return {**own, **given, _RANDOM: {"initialization": "random"}}


def _make_number_choices(
    field_: str, values: Sequence[int], option: str, most: int | None = None
) -> Mapping[str, TrainFields]:
    for value in values:
        if value < 1 or (most is not None and value > most):
            wanted = f"{option} from 1 {f'to {most}' if most else 'upwards'}"
            raise ConfigError(wanted, str(value), "give whole numbers between commas, as 1,5,10")
    return {str(value): {field_: value} for value in sorted(set(values))}


def _refuse_options(wrong: Mapping[str, bool], method: str) -> None:
    for option, given in wrong.items():
        if given:
            raise ConfigError(f"options of method {method}", option, "leave it out, or set another train.method")
