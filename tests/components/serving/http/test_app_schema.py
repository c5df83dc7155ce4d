"""Requests that are generated from /openapi.json never cause a server error, with a real engine on a tiny base."""

import asyncio
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.pytest.lazy import get_all_tests

from components.rollout.store.database import open_database
from components.serving.http.app import build_app
from components.serving.http.build import build_service

UNSUPPORTED = (
    *("best_of", "suffix", "echo", "tools", "tool_choice", "functions", "function_call", "audio", "prediction"),
    *("reasoning_effort", "verbosity", "web_search_options", "modalities", "num_beams"),
)
no_service: Any = SimpleNamespace()


def make_acceptable(body):
    """Let more requests reach the engine: an existing model, either a prompt or an input, only supported fields."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return body
    body = {name: value for name, value in body.items() if name not in UNSUPPORTED} | {"model": "alder"}
    if not body.get("stream"):
        body.pop("stream_options", None)
    if "messages" in body:
        said = [one for one in body["messages"] or () if isinstance(one, dict) and one.get("role") == "user"]
        return body | {"messages": said[:1] or [{"role": "user", "content": "x"}]}
    if not body.get("input"):
        body["prompt"] = body.get("prompt") or "x"
    body.pop("input" if body.get("prompt") else "prompt", None)
    return body


@pytest.fixture(scope="module")
def served(mlflow_fleet):
    """A loaded server's service, its application without a lifespan, and an admin key."""
    workspace = mlflow_fleet.workspace
    with closing(open_database(workspace.params.registry, workspace.root)) as database:
        service = build_service(workspace, workspace.params, database, allows_anonymous=False)
        app, (_, key) = build_app(service), service.keys.create(None)

        async def without_lifespan(scope, receive, send):
            assert scope["type"] == "http", "the engine is loaded already"
            await app(scope, receive, send)

        asyncio.run(service.engine.load())
        asyncio.run(service.fleet.refresh())
        yield service, without_lifespan, key
        asyncio.run(service.engine.drain())


@settings(max_examples=10, derandomize=True, deadline=None)
def ask(case, served):
    service, app, key = served
    case.body = make_acceptable(case.body)
    case.call_and_validate(app=app, headers={"authorization": f"Bearer {key}"}, checks=[not_a_server_error])
    assert service.describe_health()["ready"]


def test_no_request_causes_a_server_error(served, subtests):
    """The requests of all operations are made here and not in `parametrize`, which takes seconds in every worker."""
    schema = schemathesis.openapi.from_dict(build_app(no_service).openapi())
    made = [one.ok() for one in get_all_tests(schema=schema, test_func=ask, settings=None, given_kwargs=None)]
    assert len(made) > 10
    for operation, ask_all in made:
        with subtests.test(operation.label):
            ask_all(served=served)
