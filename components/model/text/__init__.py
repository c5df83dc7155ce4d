"""Texts and token ids: prompts, demonstrations, and texts that must not be generated."""
