"""What must work in the image, run inside of it by `python -m infra.images check`: with Python's library alone.

The version, a workspace with the built-in tenants trained, and the model server, which answers and ends when told;
all as a user that is not root, and without writing outside /workspace and /tmp.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path("/workspace/fleet")
_LIMIT_S = 900.0
_ENVIRONMENT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": f"{_LIMIT_S:.0f}",  # for a busy machine
    **{f"GIT_{role}_{key}": "check@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")},
}


def main() -> None:
    """Run all proofs; a failed one ends the program with 1."""
    show("user and files", check_confinement())
    show("version", run("prefixfleet", "--version"))
    show("workspace", run("prefixfleet", "init", str(ROOT)).splitlines()[0])
    run("prefixfleet", "demo", cwd=ROOT)
    status = json.loads(run("prefixfleet", "status", "--json", cwd=ROOT))["tenants"]
    show("retraining", ", ".join(f"{each['tenant']} version {each['champion']}" for each in status))
    show("server", check_server(status[0]["tenant"]))


def check_confinement() -> str:
    """Return what the program is and where it cannot write; fails if it is root, has a capability or can write."""
    lines = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    held = {name: lines[name] for name in ("CapPrm", "CapEff", "CapBnd") if int(lines[name], 16)}
    require(os.getuid() != 0 and not held and lines["NoNewPrivs"] == "1", f"user {os.getuid()}, capabilities {held}")
    places = [Path(name) for name in ("/", "/etc", "/opt/venv", "/var/tmp", "/home/prefixfleet")]  # noqa: S108
    written = [str(place) for place in places if can_write(place)]
    require(not written, f"writes to {written}")
    return f"user {os.getuid()} without capabilities; {', '.join(map(str, places))} are read-only"


def can_write(folder: Path) -> bool:
    """Return whether a file can be made in a folder."""
    probe = folder / ".probe"
    try:
        probe.touch()
    except OSError:
        return False
    probe.unlink()
    return True


def check_server(tenant: str) -> str:
    """Start the server, ask it, and end it; return what it said."""
    port = find_free_port()
    server = subprocess.Popen(["prefixfleet", "serve", "--port", str(port)], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(server, url)
        health, _ = ask(f"{url}/healthz")
        code, answer = ask(f"{url}/v1/completions", {"model": tenant, "prompt": "a word", "max_tokens": 8})
    finally:
        server.send_signal(signal.SIGTERM)
        ended = server.wait(_LIMIT_S)
    text = answer["choices"][0]["text"] if code == 200 else answer
    require((health, code, ended) == (200, 200, 0), f"/healthz {health}, completion {code}, exit code {ended}: {text}")
    return f"/healthz {health}; {tenant} answered {text!r}; ended with {ended} after SIGTERM"


def find_free_port() -> int:
    """Return a free port: buildah's image has the network of this machine, where a server may listen already."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until_ready(server: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait until /readyz answers 200; fails if the server ends before."""
    until_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < until_s:
        require(server.poll() is None, f"the server ended with {server.returncode}")
        try:
            if ask(f"{url}/readyz")[0] == 200:
                return
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.5)
    require(False, f"the server was not ready within {_LIMIT_S:.0f} s")


def ask(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Return the status and the JSON (or text) of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        status, content = problem.code, problem.read()
    return status, json.loads(content) if content[:1] == b"{" else content.decode()


def run(*command: str, cwd: Path = Path("/workspace")) -> str:
    """Run a command and return its output; fails if it fails."""
    done = subprocess.run(command, cwd=cwd, env=os.environ | _ENVIRONMENT, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def require(holds: bool, got: str) -> None:
    """End the program with 1 if something does not hold."""
    if not holds:
        sys.exit(f"failed: {got}")


def show(what: str, result: str) -> None:
    """Print a result at once."""
    sys.stdout.write(f"{what}: {result}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
