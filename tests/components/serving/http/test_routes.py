import inspect

from api_routes import list_endpoints

from components.errors import ArtifactError
from components.serving.http.app import build_app

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def test_an_answer_has_openais_shape_and_names_its_origin(ask, fleet):
    async def talk(client, _service):
        return await client.post("/v1/completions", json=PROMPT, headers={"x-request-id": "mine"})

    answer = ask(talk)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    (choice,) = body["choices"]
    assert body["object"] == "text_completion"
    assert choice["index"] == 0
    assert choice["finish_reason"] == "length"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
    names = ("tenant", "version", "artifact", "base", "arm")
    assert {name: answer.headers[f"x-prefixfleet-{name}"] for name in names} == {
        "tenant": "alder",
        "version": "1",
        "artifact": fleet.registry.find_champion("alder").sha256,
        "base": fleet.engine.base_digest,
        "arm": "champion",
    }
    assert answer.headers["x-request-id"] == "mine"


def test_a_champion_that_cannot_answer_stays_listed_with_its_trouble(ask, fleet):
    fleet.registry.register_by_hand("alder", "champion")
    fleet.engine.artifact_cache.load_errors = {fleet.registry.find_champion("birch").sha256: "no manifest in /x"}

    async def talk(client, _service):
        return [
            await client.post("/v1/completions", json=PROMPT),
            await client.get("/v1/models/alder"),
            await client.get("/v1/models"),
            await client.get("/healthz"),
        ]

    refused, one, listed, health = ask(talk)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (503, "unusable_version")
    assert "version 2: it was not registered by PrefixFleet" in error["message"]
    assert "retry-after" not in refused.headers
    assert (one.json()["version"], one.json()["trouble"]) == (
        "2",
        "it was not registered by PrefixFleet (it has no tag sha256)",
    )
    troubles = {model["id"]: model["trouble"] for model in listed.json()["data"]}
    assert list(troubles) == ["alder", "birch"]
    assert "/" not in troubles["birch"]
    assert (health.json()["status"], health.json()["troubles"]) == ("degraded", ["versions"])


def test_prompts_and_samples_keep_their_order_and_a_prompt_counts_once(ask, fleet):
    body = {**PROMPT, "prompt": ["one", "two"], "n": 2, "temperature": 1, "seed": 7, "stop": "x", "guidance": 2}

    async def talk(client, _service):
        return (await client.post("/v1/completions", json=body)).json()

    answer = ask(talk)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    rows = [(one.source, one.sample_index, one.seed, one.stop, one.guidance) for one in fleet.engine.requests]
    assert rows == [
        ("one", 0, 7, ("x",), 2),
        ("one", 1, 7, ("x",), 2),
        ("two", 0, 7, ("x",), 2),
        ("two", 1, 7, ("x",), 2),
    ]
    assert answer["usage"]["prompt_tokens"] == 2 * 3


def test_a_full_queue_is_429_and_a_damaged_artifact_503_without_its_path(ask, fleet):
    async def talk(client, _service):
        fleet.engine.full = True
        busy = await client.post("/v1/completions", json=PROMPT)
        fleet.engine.full = False
        sha256 = fleet.registry.find_champion("alder").sha256
        fleet.engine.errors[sha256] = ArtifactError("an artifact", "a damaged one in /secret/folder", "restore it")
        return busy, await client.post("/v1/completions", json=PROMPT)

    busy, damaged = ask(talk)
    assert busy.status_code == 429
    assert busy.headers["retry-after"] == "3"
    assert busy.json()["error"]["type"] == "rate_limit_error"
    assert damaged.status_code == 503
    assert "/secret" not in damaged.text


def test_models_are_the_tenants_with_a_champion(ask, fleet):
    fleet.registry.register("alder", 9, "challenger")
    fleet.registry.register("cedar", 3, "challenger")

    async def talk(client, _service):
        return await client.get("/v1/models"), await client.get("/v1/models/alder"), await client.get("/v1/models/x")

    listed, one, none = ask(talk)
    assert [model["id"] for model in listed.json()["data"]] == ["alder", "birch"]
    assert (one.json()["version"], one.json()["challenger"]) == ("1", "2")
    assert none.status_code == 404


def test_no_route_and_no_dependency_needs_a_thread(fleet):
    """FastAPI runs those that are not async in threads that all requests share."""
    with fleet.serving() as service:
        app = build_app(service)
    for route in list_endpoints(app):
        if route.path.startswith(("/v1/", "/admin", "/healthz", "/readyz", "/metrics")):
            waiting = [route.dependant]
            while waiting:
                dependant = waiting.pop()
                assert inspect.iscoroutinefunction(dependant.call), dependant.call
                waiting += dependant.dependencies
