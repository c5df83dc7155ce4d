"""An S3 API by moto: `python -m infra.services.moto_server PORT FILE`.

moto keeps objects in memory. They are written to FILE, a zip file, when SIGTERM ends the process, and read from it at
the start. Without authentication: any key is accepted.
"""

import signal
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer


def main(port: int, file: Path) -> None:
    """Serve until SIGTERM; then save."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    if file.exists():
        with _serve(0) as client:
            load_objects(client, file)
    with _serve(port) as client:
        signal.sigwait(signals)
        save_objects(client, file)


@contextmanager
def _serve(port: int) -> Iterator[Any]:
    """Serve during the block, which gets a client; 0: any free port. All servers of a process have the same objects."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        yield boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    finally:
        server.stop()


def save_objects(client: Any, file: Path) -> None:
    """Write all buckets and their objects to a zip file, atomically."""
    temporary = file.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w") as archive:
        for bucket in (each["Name"] for each in client.list_buckets()["Buckets"]):
            archive.writestr(f"{bucket}/", b"")
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for each in page.get("Contents", ()):
                    body = client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
                    archive.writestr(f"{bucket}/{each['Key']}", body)
    temporary.replace(file)


def load_objects(client: Any, file: Path) -> None:
    """Make the buckets and objects of a zip file."""
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            bucket, _, key = name.partition("/")
            if key:
                client.put_object(Bucket=bucket, Key=key, Body=archive.read(name))
            else:
                client.create_bucket(Bucket=bucket)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
