"""The built-in base and tenants: the grammars that generate their text, and the base's pretraining."""
