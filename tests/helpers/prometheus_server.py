"""Debian's Prometheus and its promtool, as processes of their own."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from processes import find_free_port
from waiting import LIMIT_S, wait_until

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
MISSING = "no prometheus (Debian: apt-get install prometheus)"


def run_promtool(*arguments: str) -> str:
    """Run promtool, which must succeed; returns what it printed."""
    command = [str(PROMTOOL), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class PrometheusServer:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=LIMIT_S)

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API, which must be a success."""
        answer = self._client.get(path, params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series of an instant query."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("/query", query=query)["result"]]

    def wait_for(self, query: str) -> list[tuple[dict[str, str], float]]:
        """The result of a query, once it has one."""
        return wait_until(lambda: self.query(query), query)


@contextmanager
def run_prometheus(folder: Path, rules: Path, jobs: Mapping[str, Sequence[str]]) -> Iterator[PrometheusServer]:
    """Run Prometheus with these rules; `jobs`: name -> addresses HOST:PORT, asked every second."""
    folder.mkdir()
    config = folder / "prometheus.yml"
    scrapes = [{"job_name": job, "static_configs": [{"targets": [*targets]}]} for job, targets in jobs.items()]
    intervals = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config.write_text(yaml.safe_dump({"global": intervals, "rule_files": [str(rules)], "scrape_configs": scrapes}))
    port = find_free_port()
    command = [
        *(str(PROMETHEUS), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url, log = f"http://127.0.0.1:{port}", folder / "log"
    with log.open("wb") as output, subprocess.Popen(command, stderr=output, stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _is_ready(url, process, log), "Prometheus")
            yield PrometheusServer(url)
        finally:
            process.terminate()


def _is_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text(encoding="utf-8")
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.HTTPError:
        return False
