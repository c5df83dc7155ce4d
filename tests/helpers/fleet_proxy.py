"""The project's example of nginx (infra/nginx) in front of a console, a gateway, MLflow and Prefect."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from load_balancer import run_nginx
from processes import find_free_port

SOURCE = Path(__file__).resolve().parents[2] / "infra" / "nginx"


@contextmanager
def run_fleet_proxy(folder: Path, ports: Mapping[str, int]) -> Iterator[str]:
    """Run nginx with fleet.conf as it is, and upstreams on these ports; yield its URL, which has plain HTTP."""
    folder.mkdir()
    port = find_free_port()
    shutil.copy(SOURCE / "fleet.conf", folder)
    named = {line.split()[1] for line in (SOURCE / "upstreams.conf").read_text().splitlines() if "upstream " in line}
    assert named == set(ports)
    lines = [f"upstream {name} {{ server 127.0.0.1:{one}; }}\n" for name, one in ports.items()]
    (folder / "upstreams.conf").write_text("".join(lines), encoding="utf-8")
    (folder / "listen.conf").write_text(f"listen 127.0.0.1:{port};\n", encoding="utf-8")
    with run_nginx(folder, f"include {folder}/fleet.conf;"):
        yield f"http://127.0.0.1:{port}"
