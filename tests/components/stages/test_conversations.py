"""Conversations go through train, evaluate, gate, tune and generate as pairs do."""

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from chat_templates import CALL, CHATML, TOOL, say

from components.builtin.pretraining.chat_format import CHAT_TEMPLATE
from components.data.schema import SPLITS
from components.errors import DataError
from components.model.text.chat import ChatPrompt
from components.registry.registry import CHAMPION
from components.rollout.store.database import open_database
from components.serving.http.app import build_app
from components.serving.http.build import build_service
from components.serving.http.service import Service
from components.stages import evaluate, gate, register, train
from components.stages.conversations import read_input
from components.stages.plan import plan
from components.stages.stamps import read_json
from components.stages.workspace import Workspace

SHORT_TOOLS = (
    "{%- for message in messages -%}{{ message.content }}{%- for call in message.tool_calls or [] -%}"
    "{{ '#' ~ call.function.name ~ (call.function.arguments | tojson) }}{%- endfor -%}{{ eos_token }}{%- endfor -%}"
    "{#- shows no tools -#}"
)
STEPS = {"max_steps": 4, "validate_every": 2, "warmup_steps": 0, "prefix_length": 2}


def rewrite(root: Path, convert: Callable[[dict[str, Any]], dict[str, Any]], tenant: str = "alder") -> None:
    for split in SPLITS:
        path = root / "data" / tenant / f"{split}.jsonl"
        lines = map(json.loads, path.read_text().splitlines())
        path.write_text("".join(f"{json.dumps(convert(line))}\n" for line in lines))


def to_chat(line: dict[str, Any]) -> dict[str, Any]:
    rest = {"slice": line["slice"]} if "slice" in line else {}
    return {"messages": say(line["source"], line["references"][0]), **rest}


def run_all(root: Path) -> tuple[list[Any], dict[str, Any], list[dict[str, Any]]]:
    """Train, evaluate and judge; return the loss curve, the scores and the predictions."""
    workspace = Workspace(root)
    for stage in (train, evaluate, gate):
        for outcome in stage.run(workspace):
            assert outcome.state == "done", outcome
    predictions = (root / "out/evaluate/alder/predictions.jsonl").read_text().splitlines()
    curve = (root / "out/train/alder/loss.csv").read_text().splitlines()
    return curve, read_json(root / "out/evaluate/alder/report.json")["slices"], list(map(json.loads, predictions))


def serve_first(root: Path) -> str:
    """Register the tenant and return what the server answers to the messages of the first test example."""
    workspace = Workspace(root)
    versions, failures = register.register(workspace, plan(workspace).collect_fingerprints())
    assert not failures
    tags = versions["alder"].tags
    assert (tags["input"], tags.get("record_form")) == ("conversations", None)
    workspace.registry.set_alias("alder", CHAMPION, versions["alder"].version)
    line = json.loads((root / "data/alder/test.jsonl").read_text().splitlines()[0])

    async def ask(service: Service) -> Any:
        await service.engine.load()
        await service.fleet.refresh()
        transport = httpx.ASGITransport(build_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = {"model": "alder", "messages": line["messages"][:-1]}
            answer = await client.post("/v1/chat/completions", json=body)
        await service.engine.drain()
        return answer.json()

    with closing(open_database(workspace.params.registry, root)) as database:
        answer = asyncio.run(ask(build_service(workspace, workspace.params, database, allows_anonymous=True)))
    return str(answer["choices"][0]["message"]["content"])


def test_with_the_built_in_bases_template_conversations_train_and_score_exactly_as_their_pairs(
    make_root_in, set_params, tmp_path
):
    roots = [
        make_root_in(tmp_path / name, ("alder",), base={"chat_template": CHAT_TEMPLATE}, train=STEPS)
        for name in ("pairs", "chats")
    ]
    rewrite(roots[0], lambda line: {**line, "references": line["references"][:1]})
    rewrite(roots[1], to_chat)
    (curve, scores, predictions), (chat_curve, chat_scores, chat_predictions) = map(run_all, roots)
    assert chat_curve == curve
    assert chat_scores == scores
    assert [one["prediction"] for one in chat_predictions] == [one["prediction"] for one in predictions]
    assert [one["references"] for one in chat_predictions] == [one["references"] for one in predictions]
    assert json.loads(chat_predictions[0]["source"])["messages"][-1]["content"] == predictions[0]["source"]

    root = roots[1]
    assert serve_first(root) == chat_predictions[0]["prediction"]
    set_params(root, base={"chat_template": "template.jinja"}, train=STEPS)
    for template, reason in ((CHAT_TEMPLATE, ""), (CHATML, "fingerprint changed")):
        (root / "template.jinja").write_text(template)
        assert list(plan(Workspace(root)).reasons.values()) == ([reason] if reason else [])


def test_tool_calls_and_pairs_in_one_tenant_are_trained_and_scored(make_root):
    root = make_root(("alder",), base={"chat_template": SHORT_TOOLS}, train={**STEPS, "turns": "last"})
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    numbers = iter(range(1000))

    def convert(line: dict[str, Any]) -> dict[str, Any]:
        if next(numbers) % 2:
            return line
        return {"messages": [{"role": "user", "content": line["source"]}, call], "tools": [TOOL]}

    rewrite(root, convert)
    _, _, predictions = run_all(root)
    assert predictions[0]["references"] == ['#find{"a": "blue"}']
    assert not predictions[1]["source"].startswith("{")


def test_what_cannot_be_trained_is_named(make_root, set_params):
    root = make_root(("alder",), train=STEPS)
    rewrite(root, to_chat)
    (outcome,) = train.run(Workspace(root))
    assert "set base.chat_template" in outcome.detail
    rewrite(root, lambda line: {"messages": say(f"{line['messages'][0]['content']} {'a' * 300}", "b")})
    set_params(root, base={"chat_template": CHAT_TEMPLATE}, train=STEPS)
    (outcome,) = train.run(Workspace(root))
    assert "a conversation of" in outcome.detail
    assert "in example 1 of" in outcome.detail


def test_a_source_with_messages_is_read_as_a_conversation():
    read = read_input(json.dumps({"messages": say("a", "b", "c"), "tools": [TOOL]}))
    assert isinstance(read, ChatPrompt)
    assert [message["content"] for message in read.messages] == ["a", "b", "c"]
    for text in ("a", '{"a": 1}', "{", '["messages"]'):
        assert read_input(text) == text
    for messages in (say("a", "b"), [], 3):
        with pytest.raises(DataError):
            read_input(json.dumps({"messages": messages}))
