import time

from components.serving.http.webhook import compute_signature


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
        headers["x-mlflow-signature"] = compute_signature("secret", "id", sent, b"{}")
        signed = await client.post("/admin/refresh", content=b"{}", headers=headers)
        return unsigned.status_code, is_known, signed.status_code, "birch" in service.fleet.snapshot.champions

    assert ask(talk, is_open=False) == (401, True, 200, False)
