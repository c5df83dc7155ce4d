"""An S3 API on loopback: moto's server in a process of its own, or one that PREFIXFLEET_TEST_S3 names.

PREFIXFLEET_TEST_S3 is an endpoint's URL; its keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import requests
from processes import find_free_port
from waiting import wait_until

PAGE_KEYS = 50
"""Keys in one page of moto's listings."""
_ENDPOINT_VARIABLE = "PREFIXFLEET_TEST_S3"


class S3Server:
    """A running server, or the way to it through a proxy."""

    def __init__(self, endpoint: str, key: str, secret: str) -> None:
        self.endpoint, self.key, self.secret = endpoint, key, secret

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a process needs to use it."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_client(self) -> Any:
        """A boto3 client of it."""
        keys = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.endpoint, **keys)

    def make_bucket(self) -> str:
        """Make a bucket of a new name."""
        name = f"test-{secrets.token_hex(6)}"
        self.make_client().create_bucket(Bucket=name)
        return name


@contextmanager
def run_s3_server() -> Iterator[S3Server]:
    """Start a server, wait until it answers, and stop it after the block."""
    if endpoint := os.environ.get(_ENDPOINT_VARIABLE):
        yield S3Server(endpoint, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        return
    port = find_free_port()
    server = S3Server(f"http://127.0.0.1:{port}", "key", "secret")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE_KEYS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None, f"moto's server exited with {process.poll()}"
        try:
            return requests.get(server.endpoint, timeout=5).status_code < 500
        except requests.RequestException:
            return False

    try:
        wait_until(answers, "moto's server to answer")
        yield server
    finally:
        process.kill()
        process.wait()
