"""Rollout decisions as pure functions: policy, statistical checks, traffic split."""
