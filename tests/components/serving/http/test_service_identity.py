import json

import pytest

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def test_a_tenants_key_cannot_tell_anothers_from_none(ask, fleet):
    fleet.register("birch", 5, "challenger")

    async def talk(client, service):
        mine = bearer(service.keys.create("alder")[1])
        answers = {}
        for model in ("birch", "nobody", "birch@1", "nobody@1", "birch@challenger", "Alder", "", "alder@7", "alder@no"):
            answer = await client.post("/v1/completions", json={**PROMPT, "model": model}, headers=mine)
            answers[model] = (answer.status_code, answer.text)
        one = [await client.get(f"/v1/models/{model}", headers=mine) for model in ("birch", "nobody")]
        listed = await client.get("/v1/models", headers=mine)
        good = await client.post("/v1/completions", json=PROMPT, headers=mine)
        return answers, one, listed.json(), good

    answers, one, listed, good = ask(talk, is_open=False)
    others = [answers[model] for model in ("birch", "nobody", "birch@1", "nobody@1", "birch@challenger", "Alder")]
    assert others[0][0] == 404
    assert len(set(others)) == 1
    assert answers["alder@7"][0] == answers["alder@no"][0] == 404
    assert answers[""][0] == 400
    assert one[0].status_code == 404
    assert one[0].text == one[1].text
    assert [model["id"] for model in listed["data"]] == ["alder"]
    assert good.status_code == 200
    assert all(request.artifact.tenant == "alder" for request in fleet.engine.requests)


def test_feedback_on_anothers_answer_is_as_on_none(ask):
    async def talk(client, service):
        keys = {tenant: bearer(service.keys.create(tenant)[1]) for tenant in ("alder", "birch")}
        name = (await client.post("/v1/completions", json=PROMPT, headers=keys["alder"])).json()["id"]
        return [
            await client.post("/v1/feedback", json={"id": one, "rating": 0}, headers=keys["birch"])
            for one in (name, "cmpl-nothing")
        ]

    theirs, none = ask(talk, is_open=False)
    assert (theirs.status_code, theirs.text) == (none.status_code, none.text)
    assert none.status_code == 404


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer x"}, {"authorization": "Basic eDp5"}])
def test_without_a_key_that_opens_something_nothing_is_told(ask, header):
    async def talk(client, _service):
        return [
            await client.post("/v1/completions", json=PROMPT, headers=header),
            await client.get("/v1/models", headers=header),
            await client.get("/metrics", headers=header),
            await client.post("/admin/refresh", headers=header),
        ]

    for answer in ask(talk, is_open=False):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "alder" not in answer.text


def test_an_admins_key_opens_all_and_a_tenants_no_admins_door(ask):
    async def talk(client, service):
        admin, tenant = (bearer(service.keys.create(name)[1]) for name in (None, "alder"))
        good = [await client.get(path, headers=admin) for path in ("/v1/models", "/metrics")]
        bad = [await client.get("/metrics", headers=tenant), await client.post("/admin/refresh", headers=tenant)]
        return good, await client.post("/admin/refresh", headers=admin), bad

    good, refreshed, bad = ask(talk, is_open=False)
    assert [answer.status_code for answer in good] == [200, 200]
    assert refreshed.status_code == 200
    assert [answer.status_code for answer in bad] == [403, 403]


def test_an_open_server_closes_with_the_first_key_and_knows_localhost_alone(ask):
    async def talk(client, service):
        before = await client.get("/v1/models")
        elsewhere = await client.get("/v1/models", headers={"host": "evil.example"})
        key = service.keys.create("alder")[0]
        after = await client.get("/v1/models")
        service.keys.revoke(key.id)
        return before, elsewhere, after, await client.get("/v1/models")

    before, elsewhere, after, still = ask(talk)
    assert [answer.status_code for answer in (before, elsewhere, after, still)] == [200, 403, 401, 401]


def test_health_needs_no_key_and_names_nobody(ask):
    async def talk(client, _service):
        return [await client.get(path) for path in ("/healthz", "/readyz")]

    for answer in ask(talk, is_open=False):
        assert answer.status_code == 200
        assert "alder" not in answer.text


@pytest.mark.parametrize("log_texts", [False, True])
def test_texts_are_logged_only_where_the_tenant_says_so(ask, fleet, set_params, caplog, log_texts):
    set_params(
        fleet.workspace.root,
        evaluate={"max_new_tokens": 6},
        tenants={"alder": {"access": {"log_texts": log_texts}}},
    )
    fleet.open(fleet.workspace.root)

    async def talk(client, _service):
        with caplog.at_level("INFO", "prefixfleet.serving"):
            for model in ("alder", "birch"):
                answer = await client.post("/v1/completions", json={"model": model, "prompt": f"secret of {model}"})
                assert answer.status_code == 200

    ask(talk)
    messages = [record.message for record in caplog.records if record.name == "prefixfleet.serving"]
    lines = [json.loads(message) for message in messages if message.startswith("{")]
    assert [line["tenant"] for line in lines] == ["alder", "birch"]
    assert ("secret of alder" in caplog.text) is log_texts
    assert "secret of birch" not in caplog.text
