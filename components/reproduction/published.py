"""The published figures that a reproduction is compared with. Knows no measurement.

Sources: Li & Liang 2021 (arXiv 2101.00190), tables 1 to 4 and figures 3 to 5; the row `lora` from Hu et al. 2021 (arXiv
2106.09685). Figures are as printed: METEOR and TER of WebNLG and DART as shares of 1, NIST and CIDEr in their own
units, everything else in points. They are of GPT-2 medium for table-to-text and of BART-large for summarisation.
"""

from collections.abc import Sequence

from components.data.schema import ALL_SLICE

PublishedKey = tuple[str, str, str, str]
"""(experiment and data set, row, metric, slice)"""

PUBLISHED_LOW_DATA_GAIN = 2.9
"""BLEU of prefix-tuning minus fine-tuning in low data: the paper's mean over sizes and data sets."""
BEST_PREFIX_LENGTHS = {"table-to-text": 10, "summarisation": 200}
"""The prefix length that the paper found best."""

_E2E_COLUMNS = ("bleu", "nist", "meteor", "rougeL", "cider")
_WEBNLG_COLUMNS = [(metric, part) for metric in ("bleu", "meteor", "ter") for part in ("seen", "unseen", ALL_SLICE)]
_ROUGE_COLUMNS = ("rouge1", "rouge2", "rougeL")


def _make_row(
    table: str, row: str, columns: Sequence[str | tuple[str, str]], printed: str
) -> dict[PublishedKey, float]:
    values = [float(text) for text in printed.replace("/", " ").split()]
    pairs = [column if isinstance(column, tuple) else (column, ALL_SLICE) for column in columns]
    return {(table, row, *pair): value for pair, value in zip(pairs, values, strict=True)}


PUBLISHED: dict[PublishedKey, float] = {
    **_make_row("table1 e2e", "full", _E2E_COLUMNS, "68.2/8.62/46.2/71.0/2.47"),
    **_make_row("table1 e2e", "top-2", _E2E_COLUMNS, "68.1/8.59/46.0/70.8/2.41"),
    **_make_row("table1 e2e", "adapter-3", _E2E_COLUMNS, "68.9/8.71/46.1/71.3/2.47"),
    **_make_row("table1 e2e", "adapter-0.1", _E2E_COLUMNS, "66.3/8.41/45.0/69.8/2.40"),
    **_make_row("table1 e2e", "prefix", _E2E_COLUMNS, "69.7/8.81/46.1/71.4/2.49"),
    **_make_row("table1 e2e", "lora", _E2E_COLUMNS, "70.4/8.85/46.8/71.8/2.53"),
    **_make_row("table2 webnlg", "full", _WEBNLG_COLUMNS, "64.2/27.7/46.5 .45/.30/.38 .33/.76/.53"),
    **_make_row("table2 webnlg", "top-2", _WEBNLG_COLUMNS, "53.6/18.9/36.0 .38/.23/.31 .49/.99/.72"),
    **_make_row("table2 webnlg", "adapter-3", _WEBNLG_COLUMNS, "60.4/48.3/54.9 .43/.38/.41 .35/.45/.39"),
    **_make_row("table2 webnlg", "adapter-0.1", _WEBNLG_COLUMNS, "54.5/45.1/50.2 .39/.36/.38 .40/.46/.43"),
    **_make_row("table2 webnlg", "prefix", _WEBNLG_COLUMNS, "62.9/45.6/55.1 .44/.38/.41 .35/.49/.41"),
    **_make_row("table2 dart", "full", ("bleu", "meteor", "ter"), "46.2/.39/.46"),
    **_make_row("table2 dart", "prefix", ("bleu", "meteor", "ter"), "46.4/.38/.46"),
    **_make_row("table3 summarisation", "full", _ROUGE_COLUMNS, "45.14/22.27/37.25"),
    **_make_row("table3 summarisation", "prefix-2", _ROUGE_COLUMNS, "43.80/20.93/36.05"),
    **_make_row("table3 summarisation", "prefix-0.1", _ROUGE_COLUMNS, "42.92/20.03/35.05"),
    **_make_row("infix e2e", "embedding 1", ("bleu",), "48.1"),
    **_make_row("infix e2e", "embedding 10", ("bleu",), "62.2"),
    **_make_row("infix e2e", "embedding 20", ("bleu",), "61.9"),
    **_make_row("infix e2e", "infix 1", ("bleu",), "67.9"),
    **_make_row("infix e2e", "infix 10", ("bleu",), "67.2"),
    **_make_row("infix e2e", "infix 20", ("bleu",), "66.7"),
}


def find_published(table: str, row: str, metric: str, part: str = ALL_SLICE) -> float | None:
    """Return the published figure of a row, metric and slice, or None if there is none."""
    return PUBLISHED.get((table, row, metric, part))


def find_unit_scale(suite: str, metric: str) -> float:
    """Return the factor from a suite's unit to the paper's, whose E2E table has METEOR and ROUGE-L x 100."""
    return 100.0 if suite == "e2e" and metric in ("meteor", "rougeL") else 1.0
