"""Which releases of vLLM the package was tested with: its connector interface is experimental and changes."""

import re

from prefixfleet_vllm.errors import PluginError

FIRST_VLLM = (0, 32)
"""The oldest release that was tested."""
FIRST_UNTRIED_VLLM = (0, 33)
"""The oldest release that was not tested again; pyproject.toml has the same range."""


def check_vllm_version(version: str, *, refuses: bool) -> str:
    """Check the release of vLLM that is installed; return a warning, or "" if it was tested.

    Raises:
        PluginError: it is older or newer than the ones that were tested, and `refuses` is set.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is not None and FIRST_VLLM <= (int(found[1]), int(found[2])) < FIRST_UNTRIED_VLLM:
        return ""
    first, end = (".".join(map(str, each)) for each in (FIRST_VLLM, FIRST_UNTRIED_VLLM))
    wanted, fix = f"vLLM {first} or newer and older than {end}", "install a release of that range"
    if refuses:
        raise PluginError("setup", wanted, version, f"{fix}, or set untested_vllm: warn")
    return f"prefixfleet-vllm was tested with {wanted}, and this is {version or 'unknown'}: compare texts, or {fix}"
