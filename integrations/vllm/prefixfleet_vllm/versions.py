"""Which releases of vLLM the package works with: its connector interface is experimental and changes between them."""

import re

from prefixfleet_vllm.errors import PluginError

FIRST_VLLM = (0, 32)
"""The oldest release that works."""
FIRST_UNTRIED_VLLM = (0, 33)
"""The oldest release that is refused again; pyproject.toml has the same range."""


def check_vllm_version(version: str) -> None:
    """Check the release of vLLM that is installed.

    Raises:
        PluginError: it is older or newer than the ones that were tried.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or not FIRST_VLLM <= (int(found[1]), int(found[2])) < FIRST_UNTRIED_VLLM:
        first, end = (".".join(map(str, each)) for each in (FIRST_VLLM, FIRST_UNTRIED_VLLM))
        fix = "install a release of that range, or a newer prefixfleet-vllm"
        raise PluginError("setup", f"vLLM {first} or newer and older than {end}", version, fix)
