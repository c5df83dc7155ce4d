"""Prefect's engine for a shard in a process that was forked, in which Python did not import `sitecustomize`."""

import runpy

import training_faults  # noqa: F401

runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
