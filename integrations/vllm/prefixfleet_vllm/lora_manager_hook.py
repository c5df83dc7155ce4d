"""Learns which object of a worker holds LoRA adapters: vLLM gives it to no connector.

`register`, which vLLM calls in each of its processes, wraps the one method that makes it. Knows nothing else of vLLM.
"""

import functools
import weakref
from typing import Any

_latest: "weakref.ref[Any] | None" = None
_MARK = "_prefixfleet_remembers"


def remember_lora_manager(maker: type) -> None:
    """Have `maker.create_lora_manager` remember what it makes; a second call changes nothing."""
    create = maker.create_lora_manager  # type: ignore[attr-defined]
    if hasattr(create, _MARK):
        return

    @functools.wraps(create)
    def create_and_remember(self: Any, *args: Any, **kwargs: Any) -> Any:
        global _latest
        model = create(self, *args, **kwargs)
        _latest = weakref.ref(self._adapter_manager)
        return model

    setattr(create_and_remember, _MARK, True)
    maker.create_lora_manager = create_and_remember  # type: ignore[attr-defined]


def find_lora_manager() -> Any:
    """Return the LoRA manager that was made last in this process; None if there is none, or no longer."""
    return None if _latest is None else _latest()
