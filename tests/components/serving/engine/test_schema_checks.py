"""Schemas that llguidance compiles for minutes, or in gigabytes, are refused; those of any use are not."""

import asyncio
import json
import signal
import subprocess
from typing import Any

import pytest

from components.errors import ConfigError
from components.serving.engine.schema_checks import SchemaChecker, find_schema_problem
from components.serving.interface import BusyError

TOO_MUCH = "more than 1 s of processor time, or 1 GiB"


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"allOf": [{"type": "string", "pattern": f".*a{number}.*"} for number in range(30)]}, TOO_MUCH),
        ({"type": "integer", "multipleOf": 1_000_003}, TOO_MUCH),
        ({"type": "integer", "maximum": 10**400}, "number out of range"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "no value meets"),
        ({"type": "strin"}, "Invalid type: strin"),
        ({"enum": [f"value {number}" for number in range(2_000)]}, ""),
        ({"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(900)}}, ""),
        ({"type": "string", "pattern": "[ab]*a[ab]{200}"}, ""),
    ],
)
def test_the_problem_of_a_schema_is_found_within_the_limits(schema: Any, problem: str) -> None:
    found = find_schema_problem(json.dumps(schema))
    assert problem in found
    assert bool(problem) == bool(found)


def test_text_that_is_no_json_is_a_problem() -> None:
    assert "EOF" in find_schema_problem("{")


def test_a_checker_refuses_and_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def find(schema: str) -> str:
        checked.append(schema)
        return "no" if schema == "bad" else ""

    monkeypatch.setattr("components.serving.engine.schema_checks.find_schema_problem", find)
    checker = SchemaChecker()

    async def check() -> None:
        for schema in ("good", "bad", "good", "bad"):
            if schema == "good":
                await checker.check(schema, "acme")
            else:
                with pytest.raises(ConfigError, match="valid and supported; got no"):
                    await checker.check(schema, "acme")
        with pytest.raises(ConfigError, match="at most 50000 characters"):
            await checker.check("x" * 50_001, "acme")

    asyncio.run(check())
    checker.close()
    assert checked == ["good", "bad"]


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (subprocess.TimeoutExpired("check", 30), "too little processor time"),
        (subprocess.CalledProcessError(-signal.SIGKILL, "check"), "that the system ended"),
    ],
    ids=["busy", "killed"],
)
def test_a_check_without_a_result_is_not_remembered_as_a_fault_of_the_schema(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, words: str
) -> None:
    checker = SchemaChecker()

    def wait(command: Any, **_settings: Any) -> None:
        raise problem

    async def check() -> None:
        with monkeypatch.context() as patches:
            patches.setattr(subprocess, "run", wait)
            with pytest.raises(BusyError, match=words):
                await checker.check("{}", "acme")
        await checker.check("{}", "acme")

    asyncio.run(check())
    checker.close()
