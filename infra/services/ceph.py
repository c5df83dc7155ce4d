"""Ceph's radosgw as S3 API: one monitor, one storage daemon on a file, one gateway. Needs root.

Makes the files step by step: each daemon needs the one before it. Does not know how a process is started.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from components.errors import WorkspaceError

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_USER = "prefixfleet"
_ADMIN_RIGHTS = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
_RIGHTS = {
    "mon.": ("--cap", "mon", "allow *"),
    "client.admin": _ADMIN_RIGHTS,
    "osd.0": ("--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"),
    "client.rgw": ("--cap", "mon", "allow rwx", "--cap", "osd", "allow rwx"),
}
_CONFIG = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:127.0.0.1:{monitor_port}]
public_network = 127.0.0.0/8
keyring = {folder}/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 1000
run_dir = {folder}/sockets
log_file = {folder}/$name.log
admin_socket = {folder}/sockets/$name.asok
ms_bind_ipv6 = false
[mon]
mon_data = {folder}/mon
mon_cluster_log_file = {folder}/cluster.log
mon_data_avail_crit = 1
[osd]
osd_data = {folder}/osd
osd_objectstore = bluestore
bluestore_block_size = 10737418240
osd_memory_target = 939524096
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_dns_name = localhost
"""


def is_usable() -> bool:
    """Return whether Ceph's programs are installed and this process may run them."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in PROGRAMS)


class Ceph:
    """The files of one small cluster."""

    def __init__(self, folder: Path, port: int, monitor_port: int) -> None:
        self.folder, self._port, self._monitor_port = folder, port, monitor_port
        self.environment = {"CEPH_CONF": str(folder / "ceph.conf")}
        """What the daemons and commands need in their environment."""

    def prepare_monitor(self) -> None:
        """Make the configuration, the keys and the monitor's files. The monitor keeps its first port."""
        identity = self.folder / "fsid"
        is_new = not identity.exists()
        if is_new:
            shutil.rmtree(self.folder, ignore_errors=True)
            for name in ("mon", "osd", "sockets"):
                (self.folder / name).mkdir(parents=True)
        fsid = str(uuid.uuid4()) if is_new else identity.read_text(encoding="ascii")
        values = {"fsid": fsid, "folder": self.folder, "port": self._port, "monitor_port": self._monitor_port}
        (self.folder / "ceph.conf").write_text(_CONFIG.format(**values), encoding="utf-8")
        if not is_new:
            return
        keyring, monmap = str(self.folder / "keyring"), str(self.folder / "monmap")
        for number, (name, rights) in enumerate(_RIGHTS.items()):
            create = ["--create-keyring"] if number == 0 else []
            self._run("ceph-authtool", *create, keyring, "--gen-key", "-n", name, *rights)
        address = f"[v2:127.0.0.1:{self._monitor_port}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        identity.write_text(fsid, encoding="ascii")

    def is_monitor_ready(self) -> bool:
        """Return whether the monitor answers."""
        return not self._call("ceph", "--connect-timeout", "2", "mon", "stat").returncode

    def prepare_storage(self) -> None:
        """Make the storage daemon's files and its entry at the monitor."""
        if (self.folder / "osd" / "ready").exists():
            return
        shutil.rmtree(self.folder / "osd")
        (self.folder / "osd").mkdir()
        self._run("ceph", "auth", "import", "-i", str(self.folder / "keyring"))
        identity = str(uuid.uuid4())
        self._run("ceph", "osd", "new", identity, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)

    def is_storage_ready(self) -> bool:
        """Return whether the storage daemon is up."""
        answer = self._call("ceph", "--connect-timeout", "2", "osd", "stat", "--format", "json")
        return not answer.returncode and json.loads(answer.stdout).get("num_up_osds") == 1

    def make_user(self, access_key: str, secret_key: str) -> None:
        """Make the user with these keys, or set them. They go through a pipe: a command line is visible to others."""
        if self._call("radosgw-admin", "user", "info", f"--uid={_USER}").returncode:
            self._run("radosgw-admin", "user", "create", f"--uid={_USER}", f"--display-name={_USER}", "--key-type=s3")
        stored = json.loads(self._run("radosgw-admin", "metadata", "get", f"user:{_USER}"))
        keys = [{"user": _USER, "access_key": access_key, "secret_key": secret_key}]
        if stored["data"].get("keys") != keys:
            stored["data"]["keys"] = keys
            self._run("radosgw-admin", "metadata", "put", f"user:{_USER}", text=json.dumps(stored))

    def _run(self, *command: str, text: str = "") -> str:
        done = self._call(*command, text=text)
        if done.returncode:
            got = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            fix = f"read the logs in {self.folder}, or set S3_SERVER=moto"
            raise WorkspaceError(f"`{' '.join(command[:3])}` of Ceph to succeed", got, fix)
        return done.stdout

    def _call(self, *command: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        environment: Mapping[str, str] = {**os.environ, **self.environment}
        return subprocess.run(
            command, input=text, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
