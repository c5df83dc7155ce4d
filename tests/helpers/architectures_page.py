"""Write the table of docs/bases.md from the registry of architectures: `python tests/helpers/architectures_page.py`."""

from pathlib import Path

from architectures import ALL, ATTACHED, COUNT_COLUMNS, PAIRS

PAGE = Path(__file__).parents[2] / "docs" / "bases.md"
START, END = "<!-- architectures: start -->\n", "<!-- architectures: end -->\n"


def make_table() -> str:
    """Return the rows of all architectures as a Markdown table."""
    lines = ["| architecture | config class | attention | training | decoding |", "|---|---|---|---|---|"]
    for kind, one in ALL.items():
        apart = kind in PAIRS or kind in ATTACHED or kind in COUNT_COLUMNS
        decoding = "one by one" if kind in COUNT_COLUMNS else "rows start together" if apart else "rows join and leave"
        training = "padded" if apart else "packed"
        lines.append(f"| {one.name} | `{one.config}` | {one.attention} | {training} | {decoding} |")
    return "\n".join(lines) + "\n"


def replace_table(page: str) -> str:
    """Return the page with the table between its marks."""
    before, rest = page.split(START)
    return before + START + make_table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(replace_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
