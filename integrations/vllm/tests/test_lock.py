"""The environment is the one of requirements.lock, so that what passes here was tried together."""

from importlib.metadata import version
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"


def test_every_pin_is_installed() -> None:
    pins = [line.split("==") for line in LOCK.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")]
    installed = {name: version(name).partition("+")[0] for name, _ in pins}
    assert installed == {name: pin.partition(";")[0] for name, pin in pins}
