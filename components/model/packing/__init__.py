"""Run a decoder-only model over concatenated rows, each with its own prefix, without padding."""

from components.model.packing.packed_rows import is_packable, pack_rows, stack_slots

__all__ = ["is_packable", "pack_rows", "stack_slots"]
