"""Sizes that docs/rollout.md states: answers until nine in ten trials find a difference, at false_alarm 0.01."""

SIZES = [
    # rate of the champion, of the challenger, share, requests (or users, where each has rates of its own)
    (0.01, 0.50, 0.05, 400),
    (0.01, 0.10, 0.25, 1300),
    (0.01, 0.05, 0.25, 4500),
    (0.10, 0.30, 0.25, 1400),
]
