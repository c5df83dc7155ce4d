import time

import pytest

from components.access.signatures import sign_delivery
from components.serving.http.webhook import DeliveryMemory, is_signed


def seconds_ago(seconds):
    return str(int(time.time()) - seconds)


@pytest.mark.parametrize(
    ("change", "is_valid"),
    [
        ({}, True),
        ({"payload": b"other"}, False),
        ({"delivery_id": "other"}, False),
        ({"timestamp": seconds_ago(1000)}, False),
        ({"timestamp": "soon"}, False),
        ({"signature": "v1,ü"}, False),
    ],
)
def test_only_a_recent_message_with_a_valid_signature_passes(change, is_valid):
    message = {"delivery_id": "id", "timestamp": seconds_ago(0), "payload": b"{}"}
    signed = sign_delivery(b"secret", *message.values())
    assert is_signed("secret", **{"signature": signed, **message, **change}, now_s=time.time()) is is_valid


def test_an_old_message_is_refused_even_if_it_is_signed():
    old = seconds_ago(1000)
    assert not is_signed("secret", sign_delivery(b"secret", "id", old, b"{}"), "id", old, b"{}", now_s=time.time())


def test_a_delivery_is_accepted_once_until_it_is_too_old():
    now_s = [0.0]
    memory = DeliveryMemory(lambda: now_s[0], 2)
    assert [memory.claim(one) for one in ("a", "a", "b")] == [True, False, True]
    assert not memory.claim("c"), "the memory is full, and forgets nothing that is still valid"
    memory.release("b")
    assert memory.claim("b")
    now_s[0] = 599.0
    assert not memory.claim("a")
    now_s[0] = 601.0
    assert memory.claim("c")
    assert memory.claim("a")
