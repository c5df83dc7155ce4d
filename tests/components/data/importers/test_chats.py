"""OpenAI's fine-tuning format, ShareGPT, and tables with messages."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from chat_templates import TOOL, say

from components.config import DataConfig
from components.data.importers import import_dataset
from components.errors import DataError

LIMITS = DataConfig()
CALL = {"name": "find", "arguments": '{"limit": 2}'}


def import_one(folder: Path, kind: str, *rows: Any, **options: str) -> list[Any]:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (examples,) = import_dataset(kind, str(folder / "rows.jsonl"), LIMITS, split="train", **options).values()
    return [json.loads(example.chat) for example in examples]


def test_openais_format_is_imported_with_tools_weights_and_calls_of_the_former_form(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {"maximum": 1.5, "type": "object"}}}
    former = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "function_call": CALL}]
    weighted = say("a", "b", "c", "d")
    weighted[1]["weight"] = 0
    wanted = [
        {"messages": weighted, "tools": [tool]},
        {
            "messages": [
                former[0],
                {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]},
            ],
            "tools": [tool],
        },
    ]
    rows = [
        {"messages": weighted, "tools": [tool], "parallel_tool_calls": False},
        {"messages": former, "functions": [tool["function"]]},
    ]
    for kind in ("openai", "jsonl", "hub"):
        assert import_one(tmp_path, kind, *rows) == wanted


def test_sharegpt_is_imported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "prefixfleet")
    turns = [("human", "a"), ("function_call", json.dumps(CALL)), ("observation", "3"), ("gpt", "b"), ("human", "c")]
    row = {
        "system": "s",
        "tools": json.dumps([TOOL["function"]]),
        "conversations": [{"from": role, "value": text} for role, text in turns],
    }
    (got,) = import_one(tmp_path, "sharegpt", row)
    assert [message["role"] for message in got["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert got["messages"][2]["tool_calls"] == [{"type": "function", "function": CALL}]
    assert got["tools"] == [TOOL]
    assert "1 conversations ended with other messages" in caplog.text


def test_a_parquet_file_of_messages_is_imported(tmp_path: Path) -> None:
    import pandas

    called = [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": "b", "name": "x"}]
    rows = [{"source": "web", "chat": say("a", "b")}, {"source": "web", "chat": called}]
    pandas.DataFrame(rows).to_parquet(tmp_path / "train.parquet")
    (examples,) = import_dataset("parquet", str(tmp_path), LIMITS, messages_field="chat").values()
    assert json.loads(examples[0].chat)["messages"] == say("a", "b")
    with pytest.raises(DataError, match="messages_field"):
        import_dataset("parquet", str(tmp_path), LIMITS, messages_field="chats")


def test_rows_that_are_no_conversations_are_told_or_left_to_the_check_of_the_drop(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 2; the first is train, example 1: the last message is the user's"):
        import_one(tmp_path, "openai", {"messages": say("a")}, {"messages": 3})
    got = import_one(tmp_path, "openai", *[{"messages": say("a", "b")}] * 30, {"messages": say("a")})
    assert got[-1] == {"messages": say("a")}
