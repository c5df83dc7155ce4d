"""Signatures are those of the libraries that verify them."""

import base64

from mlflow.webhooks.delivery import _generate_hmac_signature
from openai import OpenAI

from components.access.signatures import sign_delivery


def test_mlflow_and_openai_make_the_same_signature():
    assert sign_delivery(b"secret", "id", "12", b'{"a": 1}') == _generate_hmac_signature(
        "secret", "id", "12", '{"a": 1}'
    )
    key = bytes(range(32))
    secret = f"whsec_{base64.b64encode(key).decode()}"
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": sign_delivery(key, "evt_1", "1700000000", b"{}"),
    }
    OpenAI(api_key="none").webhooks.verify_signature(b"{}", headers, secret=secret, tolerance=10**10)
