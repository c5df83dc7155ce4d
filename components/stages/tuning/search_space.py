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

Fields = Mapping[str, Any]
"""Values of `TrainConfig` by field."""
Point = Mapping[str, str | float]
"""One place in a space: a choice's label, or a learning rate, by dimension."""

RATE = "learning rate"
LENGTHS = (1, 5, 10, 20)
_OWN_WORDS, _RANDOM = "own words", "random"
_SIZES: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "top-k": ("layers", "top_layers", (1, 2, 4)),
    "adapter": ("size", "adapter_size", (8, 16, 32, 64)),
    "lora": ("rank", "lora_rank", (2, 4, 8, 16)),
    "in-context": ("demonstrations", "demonstrations", (1, 2, 4, 8)),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks for; None takes what suits the method."""

    lengths: Sequence[int] | None = None
    rates: tuple[float, float] | None = None
    init_texts: Sequence[str] = ()
    sizes: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """The dimensions of a search: labelled choices of fields, and learning rates drawn log-uniformly."""

    choices: Mapping[str, Mapping[str, Fields]]
    rates: tuple[float, float] | None = None
    _names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Gather the fields that the space decides on."""
        chosen = {name for options in self.choices.values() for fields in options.values() for name in fields}
        object.__setattr__(self, "_names", tuple(sorted(chosen | ({"learning_rate"} if self.rates else set()))))

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names for people, in the order of a table's columns."""
        return (*self.choices, *([RATE] if self.rates else []))

    def of(self, config: TrainConfig) -> Fields:
        """What a config has in the searched fields."""
        return {name: getattr(config, name) for name in self._names}

    def rest(self, config: TrainConfig) -> Fields:
        """A config's other fields, as JSON values."""
        return {name: value for name, value in config.model_dump(mode="json").items() if name not in self._names}

    def fields(self, point: Point) -> Fields:
        """The values of a point; learning rates keep three digits, so that what is written down is what was tried."""
        values: dict[str, Any] = {}
        for name, options in self.choices.items():
            values |= options[str(point[name])]
        if self.rates:
            low, high = self.rates
            values["learning_rate"] = min(max(float(f"{point[RATE]:.3g}"), low), high)
        return values

    def point(self, fields: Fields) -> Point:
        """The place of some values, as far as they lie in the space."""
        found: dict[str, str | float] = {}
        for name, options in self.choices.items():
            inside = [label for label, option in options.items() if option.items() <= fields.items()]
            found.update((name, label) for label in inside[:1])
        if self.rates and self.rates[0] <= fields["learning_rate"] <= self.rates[1]:
            found[RATE] = fields["learning_rate"]
        return found

    def shown(self, fields: Fields) -> tuple[str, ...]:
        """Values for people, one a dimension, also where they lie outside the space."""
        inside = self.point(fields)
        cells = []
        for name, options in self.choices.items():
            own = next(iter(options.values()))
            outside = ", ".join(str(fields[key]) for key in own if fields.get(key) is not None)
            cells.append(str(inside.get(name, outside or "by share")))
        return (*cells, *([f"{fields['learning_rate']:g}"] if self.rates else []))

    def points(self) -> Iterator[Point]:
        """Every point of a space without a range."""
        for labels in product(*self.choices.values()):
            yield dict(zip(self.choices, labels, strict=True))


def space_of(config: TrainConfig, wanted: Wanted) -> Space:
    """The space of a config's method.

    Raises:
        ConfigError: an impossible value, or one for what the method does not have.
    """
    method, kind = config.method, config.method.rpartition("+")[2]
    slots = method in SLOT_METHODS
    _refuse(
        {
            "--lengths": wanted.lengths is not None and not slots,
            "--init-texts": bool(wanted.init_texts) and not slots,
            "--sizes": wanted.sizes is not None and kind not in _SIZES,
            "--learning-rates": wanted.rates is not None and method == "in-context",
        },
        method,
    )
    choices: dict[str, Mapping[str, Fields]] = {}
    if slots:
        choices["length"] = _numbers("prefix_length", wanted.lengths or LENGTHS, "--lengths", most=1024)
        choices["start"] = _starts(wanted.init_texts)
    if kind in _SIZES:
        name, field_, usual = _SIZES[kind]
        choices[name] = _numbers(field_, wanted.sizes or usual, "--sizes")
    if method == "in-context":
        choices["choice"] = {one: {"demonstration_choice": one} for one in ("nearest", "random")}
        return Space(choices)
    low, high = wanted.rates or default_rates(config)
    if not 0 < low <= high < float("inf"):
        fix = "give a low and a high one above zero, as 0.05..0.5"
        raise ConfigError("learning rates LOW..HIGH with 0 < LOW <= HIGH", f"--learning-rates {low:g}..{high:g}", fix)
    if low == high:
        return Space({**choices, RATE: {f"{low:g}": {"learning_rate": low}}})
    return Space(choices, (low, high))


def default_rates(config: TrainConfig) -> tuple[float, float]:
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


def _starts(texts: Sequence[str]) -> Mapping[str, Fields]:
    if any(not text.strip() for text in texts):
        raise ConfigError("words to start from", "--init-texts with an empty text", "give a phrase that names the task")
    own = {_OWN_WORDS: {"initialization": "text", "init_text": None}}
    given = {f'"{text}"': {"initialization": "text", "init_text": text} for text in texts}
    return {**own, **given, _RANDOM: {"initialization": "random"}}


def _numbers(field_: str, values: Sequence[int], option: str, most: int | None = None) -> Mapping[str, Fields]:
    for value in values:
        if value < 1 or (most is not None and value > most):
            wanted = f"{option} from 1 {f'to {most}' if most else 'upwards'}"
            raise ConfigError(wanted, str(value), "give whole numbers between commas, as 1,5,10")
    return {str(value): {field_: value} for value in sorted(set(values))}


def _refuse(wrong: Mapping[str, bool], method: str) -> None:
    for option, given in wrong.items():
        if given:
            raise ConfigError(f"options of method {method}", option, "leave it out, or set another train.method")
