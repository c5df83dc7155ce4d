"""Objects for an S3 server, collected in a zip file and stored all at once: through its API, or in moto's own file."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_THREADS = 8


class PendingObjects:
    """Objects that are not stored yet, by `<bucket>/<key>`, in a zip file as moto's server has it."""

    def __init__(self, file: Path) -> None:
        """Open nothing yet."""
        self._file = file

    def add(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Add pairs of `<bucket>/<key>` and content."""
        with zipfile.ZipFile(self._file, "a") as archive:
            for name, content in objects:
                archive.writestr(name, content)

    def write_to_moto(self, file: Path) -> None:
        """Add the objects to the file that moto's server reads at its start; the server must not run."""
        with zipfile.ZipFile(file, "a") as archive:
            for name, content in self._take():
                archive.writestr(name, content)
        self._file.unlink()

    def send(self, environment: Mapping[str, str]) -> None:
        """Send the objects through the S3 API that these variables name."""
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
            region_name=environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

        def put(entry: tuple[str, bytes]) -> None:
            bucket, _, key = entry[0].partition("/")
            client.put_object(Bucket=bucket, Key=key, Body=entry[1])

        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(put, self._take()))
        self._file.unlink()

    def _take(self) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(self._file) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)


def list_dvc_objects(root: Path, remote: str) -> Iterator[tuple[str, bytes]]:
    """Yield what `dvc push` sends of a workspace whose cache has only the data: `<bucket>/<key>` and content.

    `remote`: the remote's URL without its scheme.
    """
    cache = root / ".dvc" / "cache"
    for path in sorted(cache.rglob("*")):
        if path.is_file():
            yield f"{remote}/{path.relative_to(cache).as_posix()}", path.read_bytes()
