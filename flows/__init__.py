"""Prefect flows over the stages: the entry points for schedules, deployments and commands."""
