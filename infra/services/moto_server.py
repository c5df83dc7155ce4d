"""An S3 API by moto: `python -m infra.services.moto_server PORT FILE`.

moto keeps objects in memory. They are written to FILE, a zip file, when SIGTERM ends the process, and read from it at
the start; not through the API, which takes minutes for 100,000 objects. Without authentication: any key is accepted.
"""

import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

_REGION, _PARTITION = "us-east-1", "aws"


def main(port: int, file: Path) -> None:
    """Serve until SIGTERM; then save."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    if file.exists():
        load_objects(file)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        signal.sigwait(signals)
        save_objects(file)
    finally:
        server.stop()


def save_objects(file: Path) -> None:
    """Write all buckets and their objects to a zip file, atomically."""
    temporary = file.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, bucket in _get_backend().buckets.items():
            archive.writestr(f"{name}/", b"")
            for key in bucket.keys.values():
                archive.writestr(f"{name}/{key.name}", key.value)
    temporary.replace(file)


def load_objects(file: Path) -> None:
    """Make the buckets and objects of a zip file; of two objects with one name the later one counts."""
    backend = _get_backend()
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            bucket, _, key = name.partition("/")
            if key:
                backend.put_object(bucket, key, archive.read(name), disable_notification=True)
            else:
                backend.create_bucket(bucket, _REGION)


def _get_backend() -> Any:
    """Return where moto keeps the buckets of all keys that it accepts."""
    return s3_backends[DEFAULT_ACCOUNT_ID][_PARTITION]


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
