"""Artifacts on disk; runs, versions and aliases in MLflow; checkpoints of PEFT."""
