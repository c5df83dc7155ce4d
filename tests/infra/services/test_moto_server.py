"""moto's objects over a restart."""

import boto3
from moto import mock_aws

from infra.services.moto_server import load_objects, save_objects


def test_buckets_and_objects_are_saved_and_read_again(tmp_path):
    file = tmp_path / "objects.zip"
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    objects = {"a/b=c": b"\x00content", "50 %25 ä/+": b"other"}
    with mock_aws():
        client = boto3.client("s3", **keys)
        client.create_bucket(Bucket="empty")
        client.create_bucket(Bucket="full")
        for name, body in objects.items():
            client.put_object(Bucket="full", Key=name, Body=body)
        save_objects(file)
    with mock_aws():
        client = boto3.client("s3", **keys)
        load_objects(file)
        assert {one["Name"] for one in client.list_buckets()["Buckets"]} == {"empty", "full"}
        for name, body in objects.items():
            assert client.get_object(Bucket="full", Key=name)["Body"].read() == body
        assert "Contents" not in client.list_objects_v2(Bucket="empty")
