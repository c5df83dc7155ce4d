"""Read a system's outputs from a file of lines, a table or JSON lines. Knows no references."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.errors import DataError
from components.evaluation.suites.input_tables import OUTPUT_COLUMNS, Table, find_column, find_input_column, read_table


@dataclass(frozen=True, slots=True)
class SystemOutputs:
    """Outputs in the file's order with their line numbers; `inputs` is None if the file names none."""

    path: Path
    texts: Sequence[str]
    lines: Sequence[int]
    inputs: Sequence[str] | None = None
    is_plain_lines: bool = False


def read_system_outputs(path: Path, column: str | None = None) -> SystemOutputs:
    """Read outputs. `column` names the column of outputs in a table or JSON; None: recognise it by its name.

    A table without a header has one column, of outputs, or two: inputs and outputs.

    Raises:
        DataError: the file cannot be read, is empty or has no such column, or a value is not a text.

    """
    table = read_table(path)
    if not table.rows:
        raise DataError("at least one prediction", f"an empty {path}", "give a file with a line for each input")
    lines = [row.line_number for row in table.rows]
    if table.kind in ("json", "table"):
        outputs = _read_column(table, find_column(table, column, OUTPUT_COLUMNS, "outputs"))
        named = find_input_column(table)
        return SystemOutputs(path, outputs, lines, None if named is None else _read_column(table, named))
    if column is not None:
        find_column(table, column, (), "outputs")
    width = len(table.rows[0].cells)
    if width > 2:
        find_column(table, None, OUTPUT_COLUMNS, "outputs")
    inputs = [row.cells[0] for row in table.rows] if width == 2 else None
    return SystemOutputs(path, [row.cells[-1].strip() for row in table.rows], lines, inputs, is_plain_lines=width == 1)


def _read_column(table: Table, column: str) -> list[str]:
    texts = []
    for row in table.rows:
        if not isinstance(value := row.values.get(column), str):
            got = f"{type(value).__name__} in {table.path}, line {row.line_number}"
            raise DataError(f"a text under {column!r}", got, "correct the line")
        texts.append(value.strip())
    return texts
