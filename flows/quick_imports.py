"""Imports of large libraries without collections of garbage, which take a third of the time and find nothing.

Imports no other library.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def import_without_collections() -> Iterator[None]:
    """Collect no garbage in the block; afterwards, collections leave out what the imported modules have made."""
    was_enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_enabled:
            gc.enable()
