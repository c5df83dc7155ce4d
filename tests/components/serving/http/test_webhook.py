import time

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from components.serving.http.webhook import compute_signature, is_signed


def now(ago=0):
    return str(int(time.time()) - ago)


def test_the_signature_is_mlflows():
    assert compute_signature("secret", "id", "12", b'{"a": 1}') == _generate_hmac_signature(
        "secret", "id", "12", '{"a": 1}'
    )


@pytest.mark.parametrize(
    ("change", "is_valid"),
    [
        ({}, True),
        ({"payload": b"other"}, False),
        ({"delivery_id": "other"}, False),
        ({"timestamp": now(1000)}, False),
        ({"timestamp": "soon"}, False),
        ({"signature": "v1,ü"}, False),
    ],
)
def test_only_mlflows_own_fresh_messages_pass(change, is_valid):
    message = {"delivery_id": "id", "timestamp": now(), "payload": b"{}"}
    signed = compute_signature("secret", *message.values())
    assert is_signed("secret", **{"signature": signed, **message, **change}) is is_valid


def test_an_old_message_does_not_pass_though_it_is_signed():
    old = now(1000)
    assert not is_signed("secret", compute_signature("secret", "id", old, b"{}"), "id", old, b"{}")


def test_a_signed_message_makes_the_server_look(ask, fleet, monkeypatch):
    monkeypatch.setenv("PREFIXFLEET_WEBHOOK_SECRET", "secret")

    async def talk(client, service):
        service.keys.create("alder")
        fleet.registry.delete_alias("birch", "champion")
        sent = now()
        headers = {"x-mlflow-delivery-id": "id", "x-mlflow-timestamp": sent}
        wrong = await client.post("/admin/refresh", content=b"{}", headers={**headers, "x-mlflow-signature": "v1,x"})
        stands = "birch" in service.fleet.snapshot.champions
        signed = {**headers, "x-mlflow-signature": compute_signature("secret", "id", sent, b"{}")}
        right = await client.post("/admin/refresh", content=b"{}", headers=signed)
        return wrong.status_code, stands, right.status_code, "birch" in service.fleet.snapshot.champions

    assert ask(talk, is_open=False) == (401, True, 200, False)
