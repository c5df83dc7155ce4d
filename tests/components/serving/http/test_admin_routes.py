import time

from components.access.signatures import sign_delivery


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def test_an_admin_key_grants_all_and_a_tenants_key_no_admin_endpoint(ask):
    async def talk(client, service):
        admin, tenant = (bearer(service.keys.create(name)[1]) for name in (None, "alder"))
        good = [await client.get(path, headers=admin) for path in ("/v1/models", "/metrics")]
        bad = [await client.get("/metrics", headers=tenant), await client.post("/admin/refresh", headers=tenant)]
        return [*good, await client.post("/admin/refresh", headers=admin)], bad

    good, bad = ask(talk, is_open=False)
    assert [answer.status_code for answer in good] == [200, 200, 200]
    assert [answer.status_code for answer in bad] == [403, 403]


def test_metrics_need_no_key_if_the_settings_say_so(ask, fleet):
    fleet.set_params(serve={"open_metrics": True})

    async def talk(client, _service):
        return await client.get("/metrics")

    assert ask(talk, is_open=False).status_code == 200


def test_health_needs_no_key_and_names_no_tenant(ask):
    async def talk(client, _service):
        return [await client.get(path) for path in ("/healthz", "/readyz")]

    for answer in ask(talk, is_open=False):
        assert answer.status_code == 200
        assert "alder" not in answer.text


def test_a_signed_webhook_makes_the_server_read_the_aliases(ask, fleet, monkeypatch):
    monkeypatch.setenv("PREFIXFLEET_WEBHOOK_SECRET", "secret")

    async def talk(client, service):
        service.keys.create("alder")
        fleet.registry.delete_alias("birch", "champion")
        sent = str(int(time.time()))
        headers = {"x-mlflow-delivery-id": "id", "x-mlflow-timestamp": sent}
        unsigned = await client.post("/admin/refresh", content=b"{}", headers={**headers, "x-mlflow-signature": "v1,x"})
        is_known = "birch" in service.fleet.snapshot.champions
        headers["x-mlflow-signature"] = sign_delivery(b"secret", "id", sent, b"{}")
        signed = await client.post("/admin/refresh", content=b"{}", headers=headers)
        again = await client.post("/admin/refresh", content=b"{}", headers=headers)
        statuses = [answer.status_code for answer in (unsigned, signed, again)]
        return statuses, is_known, "birch" in service.fleet.snapshot.champions

    assert ask(talk, is_open=False) == ([401, 200, 409], True, False)


def test_on_a_server_without_keys_another_sites_page_cannot_refresh(ask):
    async def talk(client, _service):
        origins = ("https://evil.example", "null", "http://localhost")
        answers = [await client.post("/admin/refresh", headers={"origin": origin}) for origin in origins]
        return [answer.status_code for answer in answers]

    assert ask(talk) == [403, 403, 200]


def test_head_is_answered_wherever_get_is(ask):
    async def talk(client, _service):
        paths = ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/alder", "/docs", "/openapi.json")
        answers = [await client.head(path) for path in paths]
        wrong = [await client.head(path) for path in ("/v1/completions", "/nothing")]
        return [answer.status_code for answer in [*answers, *wrong]], {answer.content for answer in answers}

    assert ask(talk) == ([200] * 7 + [405, 404], {b""})


def test_a_slash_at_the_end_is_not_found_and_redirects_nowhere(ask):
    async def talk(client, service):
        service.keys.create("alder")
        return [await client.get(path, headers={"host": "evil.example"}) for path in ("/v1/models/", "/healthz/")]

    for answer in ask(talk, is_open=False):
        assert answer.status_code == 404
        assert "location" not in answer.headers
        assert "did you mean" in answer.json()["error"]["message"]
