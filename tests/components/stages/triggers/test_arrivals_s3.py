"""Deliveries in a bucket, on a real S3 API: taken once, and nothing is written there."""

from datetime import datetime

import pytest

from components.stages.triggers.arrivals import look_for_arrivals
from components.stages.workspace import Workspace
from components.storage.object_store import ObjectStore

pytestmark = pytest.mark.slow


def test_a_delivery_in_a_bucket_is_taken_once_and_the_bucket_is_only_read(make_root, s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{s3.make_bucket()}/incoming"
    root = make_root(("alder",), triggers={"arrival": {"source": url, "quiet_seconds": 30.0}})
    bucket = ObjectStore(url)
    bucket.write("birch/train.jsonl", b"{}\n")
    bucket.write("birch/test.jsonl", b"[]\n")
    bucket.write("_SUCCESS", b"")
    before = bucket.list_keys()
    assert all(isinstance(written, datetime) for written in before.values())
    for now_s, opened in ((0.0, []), (29.0, []), (30.0, ["birch"]), (1e6, [])):
        look = look_for_arrivals(Workspace(root), lambda now_s=now_s: now_s)
        assert [one.tenant for one in look.opened] == opened
        assert look.strays == ["_SUCCESS"]
    assert (root / "drops/birch/train.jsonl").read_bytes() == b"{}\n"
    assert (root / "drops/birch/test.jsonl").read_bytes() == b"[]\n"
    assert bucket.list_keys() == before
