"""nginx in front of several servers, as a team would run it: a request without a byte of its answer is sent again."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from processes import find_free_port
from waiting import wait_until

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

_CONFIG = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {http}
}}
"""
_BALANCED = """
  upstream servers {{
    {servers}
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_read_timeout 600s;
      proxy_next_upstream error timeout http_502 http_503 non_idempotent;
    }}
  }}
"""


@contextmanager
def balance_load(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """Run nginx in front of servers on these ports; yield its URL."""
    port = find_free_port()
    servers = "\n    ".join(f"server 127.0.0.1:{one} max_fails=0;" for one in ports)
    folder.mkdir()
    with run_nginx(folder, _BALANCED.format(servers=servers, port=port)):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def run_nginx(folder: Path, http: str) -> Iterator[None]:
    """Run nginx with these lines in its block `http`, which may include files of the folder."""
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, http=http), encoding="utf-8")
    command = [str(PROGRAM), "-e", str(folder / "start.log"), "-c", str(config)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: (folder / "pid").exists() or process.poll() is not None, "nginx")
            assert process.poll() is None, (folder / "start.log").read_text()
            yield
        finally:
            process.terminate()
