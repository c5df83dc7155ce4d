"""Write the tables of docs/bases.md from the registry of architectures: run `tests/helpers/architectures_page.py`."""

from pathlib import Path

from architectures import ALL, ATTACHED, COUNT_COLUMNS, HYBRIDS, INITIAL_STATES, NO_INITIAL_STATES, PAIRS

PAGE = Path(__file__).parents[2] / "docs" / "bases.md"


def make_table() -> str:
    """Return the rows of all architectures as a Markdown table."""
    lines = ["| architecture | config class | attention | training | decoding |", "|---|---|---|---|---|"]
    lines += [make_row(kind) for kind in ALL]
    return "\n".join(lines) + "\n"


def make_row(kind: str) -> str:
    """Return the row of one architecture."""
    one, apart = ALL[kind], kind in PAIRS or kind in ATTACHED or kind in COUNT_COLUMNS
    decoding = "one by one" if kind in COUNT_COLUMNS else "rows start together" if apart else "rows join and leave"
    training = "padded" if apart else "packed"
    return f"| {one.name} | `{one.config}` | {one.attention} | {training} | {decoding} |"


def make_states_table() -> str:
    """Return the hybrids, and the states from which their rows can start, as a Markdown table."""
    lines = ["| hybrid | `train.initial_state: true` trains |", "|---|---|"]
    for kind in HYBRIDS:
        states = " and ".join(INITIAL_STATES.get(kind, ()))
        text = f"the {states} states" if states else f"refused: {NO_INITIAL_STATES[kind]}"
        lines.append(f"| {ALL[kind].name} | {text} |")
    return "\n".join(lines) + "\n"


def replace_tables(page: str) -> str:
    """Return the page with each table between its marks."""
    for name, make in (("architectures", make_table), ("initial states", make_states_table)):
        start, end = (f"<!-- {name}: {edge} -->\n" for edge in ("start", "end"))
        before, rest = page.split(start)
        page = before + start + make() + end + rest.split(end)[1]
    return page


if __name__ == "__main__":
    PAGE.write_text(replace_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
