"""DialogSum: JSON lines of dialogues and their summaries. The source is the dialogue, one turn per line.

Training has one example per summary; validation and test have one per dialogue, with all of its summaries (the
published test split has three).
"""

from components.data.importers.sources import find_split, read_files, read_json, to_one_line
from components.data.schema import Example, split_numbered_lines
from components.errors import DataError

_SUMMARY_KEYS = ("summary", "summary1", "summary2", "summary3")


def import_dialogsum(path: str) -> dict[str, list[Example]]:
    """Read DialogSum's `.jsonl` files, whose names contain the split.

    Raises:
        DataError: there are no such files, JSON is broken, or a line has no dialogue or no summary.

    """
    splits: dict[str, list[Example]] = {}
    for name, content in read_files(path, ".jsonl").items():
        if not (split := find_split(name.rsplit("/", 1)[-1])):
            continue
        examples = splits.setdefault(split, [])
        for number, line in split_numbered_lines(content):
            example = _to_example(read_json(f"{name}:{number}", line), f"{name}:{number}")
            single = [Example(example.source, (reference,)) for reference in example.references]
            examples.extend(single if split == "train" else [example])
    return splits


def _to_example(values: object, where: str) -> Example:
    match values:
        case {"dialogue": str(dialogue), **rest}:
            summaries = [rest[key] for key in _SUMMARY_KEYS if key in rest]
            texts = tuple(to_one_line(summary) for summary in summaries if isinstance(summary, str))
            if texts and len(texts) == len(summaries):
                return Example(dialogue.strip(), texts)
    raise DataError("a line with the strings `dialogue` and `summary`", f"none at {where}", "correct the line")
