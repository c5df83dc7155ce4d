"""The request for an experiment, made from command-line options and validated.

Knows the experiments' names and rows; does not know data, bases or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from components.errors import ConfigError
from components.reproduction.presets import PRESETS, make_unknown_name_error
from components.reproduction.sources import DatasetKind

_TABLE_TO_TEXT_DATASETS: tuple[DatasetKind, ...] = ("e2e", "webnlg", "dart")
_SUMMARY_DATASETS: tuple[DatasetKind, ...] = ("dialogsum", "xsum")
_TABLE_ROWS = ("full", "top-2", "adapter-3", "adapter-0.1", "lora", "prefix", "in-context", "base")
INIT_ROWS: dict[str, tuple[str, str | None]] = {
    "random": ("random values", None),
    "elephant": ("“elephant” (unrelated)", "elephant"),
    "banana": ("“banana” (unrelated)", "banana"),
    "summarize": ("“summarize”", "summarize"),
    "table-to-text": ("“table-to-text:”", "table-to-text:"),
    "own": ("the data's own words", None),
}
"""Row -> label, and the words from which the prefix is initialised."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """The part of an experiment that is the same in every run."""

    name: str
    title: str
    dataset_kinds: tuple[DatasetKind, ...]
    """Kinds of data set that it can use."""
    rows: tuple[str, ...]
    needs_encoder_decoder: bool = False
    low_data: bool = False
    sizes: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    slicing_by_length: bool = False


EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (
        Experiment("table1", "E2E: prefix-tuning beside the other methods", ("e2e",), _TABLE_ROWS),
        Experiment("table2", "Seen and unseen categories", ("webnlg", "dart"), _TABLE_ROWS),
        Experiment(
            "table3",
            "Summarisation with an encoder-decoder base",
            _SUMMARY_DATASETS,
            ("full", "prefix-2", "prefix-0.1", "base"),
            needs_encoder_decoder=True,
        ),
        Experiment(
            "lowdata",
            "Low data: score against the number of training examples",
            (*_TABLE_TO_TEXT_DATASETS, *_SUMMARY_DATASETS),
            ("full", "prefix"),
            low_data=True,
            sizes=(50, 100, 200, 500),
        ),
        Experiment(
            "length",
            "Prefix length",
            (*_TABLE_TO_TEXT_DATASETS, *_SUMMARY_DATASETS),
            ("prefix",),
            lengths=(1, 2, 5, 10, 20, 40),
        ),
        Experiment(
            "init",
            "Initialization of a prefix, in low data",
            (*_TABLE_TO_TEXT_DATASETS, *_SUMMARY_DATASETS),
            tuple(INIT_ROWS),
            low_data=True,
            sizes=(100,),
        ),
        Experiment(
            "infix",
            "Position of the trained slots",
            _TABLE_TO_TEXT_DATASETS,
            ("embedding", "infix", "prefix"),
            lengths=(1, 10, 20),
        ),
        Experiment(
            "inputlength",
            "Score by the length of the input",
            _SUMMARY_DATASETS,
            ("full", "prefix"),
            slicing_by_length=True,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRequest:
    """One experiment with the options of one run."""

    experiment: Experiment
    base: str
    data: str
    preset: str = "paper"
    seeds: tuple[int, ...] = (0, 1)
    samples: int = 5
    sizes: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    budget: int | None = None
    """Maximum number of optimizer steps of a training; None: the recipe's epochs."""
    inputs: int | None = None
    rows: tuple[str, ...] = ()


def make_request(
    experiment: str,
    *,
    base: str,
    data: str,
    preset: str = "paper",
    seeds: str = "0,1",
    samples: int = 5,
    sizes: str | None = None,
    lengths: str | None = None,
    budget: str = "paper",
    inputs: int | None = None,
    only: str | None = None,
) -> ExperimentRequest:
    """Validate the options of the command; lists are numbers or names separated by commas.

    Raises:
        ConfigError: an unknown experiment, preset or row, a number out of range, or an option that the experiment does
            not have.
    """
    if experiment not in EXPERIMENTS:
        raise make_unknown_name_error("experiment", experiment, tuple(EXPERIMENTS))
    known = EXPERIMENTS[experiment]
    if preset not in PRESETS:
        raise make_unknown_name_error("preset", preset, PRESETS)
    for option, value, has in (("--sizes", sizes, known.sizes), ("--lengths", lengths, known.lengths)):
        if value is not None and not has:
            raise ConfigError(f"an option of {experiment}", option, "remove it")
    rows = known.rows if only is None else _parse_names(only, known.rows)
    return ExperimentRequest(
        experiment=known,
        base=base,
        data=data,
        preset=preset,
        seeds=_parse_numbers("--seeds", seeds, least=0),
        samples=_check_at_least_one("--samples", samples),
        sizes=known.sizes if sizes is None else _parse_numbers("--sizes", sizes, least=1),
        lengths=known.lengths if lengths is None else _parse_numbers("--lengths", lengths, least=1, most=1024),
        budget=None if budget == "paper" else _parse_budget(budget),
        inputs=None if inputs is None else _check_at_least_one("--inputs", inputs),
        rows=rows,
    )


def _parse_names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise make_unknown_name_error("row for --only", name, tuple(known))
    if not names:
        raise ConfigError(f"rows of {', '.join(known)} for --only", repr(text), "name at least one")
    return tuple(name for name in known if name in names)


def _parse_numbers(option: str, text: str, *, least: int, most: int = 10**9) -> tuple[int, ...]:
    limit = f" to {most}" if most < 10**9 else ""
    wanted = f"whole numbers from {least}{limit}, separated by commas, for {option}"
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(wanted, repr(text), f"pass for example {option} {least},{least + 1}") from None
    if any(not least <= number <= most for number in numbers) or len(set(numbers)) != len(numbers):
        raise ConfigError(wanted, repr(text), "use numbers in this range, each of them once")
    return tuple(sorted(numbers))


def _parse_budget(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 10**9):
        fix = "pass for example --budget 1400"
        raise ConfigError("`paper` or a number of optimizer steps for --budget", repr(text), fix)
    return int(text)


def _check_at_least_one(option: str, number: int) -> int:
    if number < 1:
        raise ConfigError(f"a whole number from 1 for {option}", str(number), "correct it, or remove the option")
    return number
