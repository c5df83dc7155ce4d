"""Sequential test of whether a challenger's odds of a bad answer are above `margin` times the champion's.

It may be evaluated at any time and as often as needed: its error rate holds over all evaluations together.

Model. Answers, one of each key, are grouped into strata: periods of time in which every key was drawn with the same
share. Given a stratum's sizes and its number of bad answers, the number of the challenger's bad answers follows
Fisher's noncentral hypergeometric distribution, which depends only on the odds ratio: the rate of bad answers at that
time cancels (Cornfield 1956). So a busy hour, a failing network or a growing share cannot make a version look worse.

Keys that differ from each other do no harm either. If each key's own odds ratio is at most m >= 1, the likelihood ratio
of the true distribution to Fisher's at m decreases with the challenger's bad answers. Proof: for a key, let A, B, C, D
be the probabilities of (challenger, bad), (challenger, good), (champion, bad), (champion, good). Given sizes and number
of bad answers, an outcome with u+1 bad answers of the challenger has a key that is one of these, and another key that
the champion answered well; swapping bad and good between the two gives an outcome with u. Summed over all choices, it
suffices that A D' + A' D <= m (B C' + B' C) for any two keys. At odds ratio m, A D = m B C, and B/D decreases where C/D
increases, so it remains to show (B/D - B'/D')(C/D - C'/D') <= 0, which holds. A smaller odds ratio has a smaller A and
a larger B. The proof needs one share for all keys, which then cancels. For keys sampled from a population, the same is
known: the odds ratio of a mixture is nearer to 1 (Gail, Wieand and Piantadosi 1984). In a shadow each key is in both
arms, which has less variance than Fisher's distribution.

Evidence. It is the likelihood of worse odds ratios, averaged over a grid, divided by the likelihood of the margin. This
ratio increases with the challenger's bad answers. So under any odds ratio up to the margin, even a changing one, each
stratum multiplies the evidence by at most 1 on average: the evidence is a nonnegative supermartingale that starts at 1,
and the probability that it EVER reaches 1/alpha is at most alpha (Ville 1939; mixtures: Robbins 1970; Ramdas, Grünwald,
Vovk and Shafer 2023, doi:10.1214/23-STS894). The opposite claim, that the challenger is no worse, is about the mean
rates of all keys together, not about each key's odds. Knows no check and no policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_ODDS_FACTORS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""The grid of alternatives: odds ratios beyond the margin, as multiples of it, with equal weights."""

_LOWER_RATE_SHARES = (0.02, 0.25, 0.5)
"""The grid of alternatives to a level: rates below it, as parts of it, with equal weights."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Answers of both arms during one share, one of each key, and how many of them were bad."""

    champion: int
    champion_bad: int
    challenger: int
    challenger_bad: int
    minute: int = field(default=0, compare=False)
    """The last one, in minutes since 1970; for people, not for the test."""


def compute_log_evidence(strata: Sequence[Stratum], margin: float, *, worse: bool) -> FloatArray:
    """Return the log of the evidence after each stratum; shape [strata].

    With `worse`: evidence that the odds ratio is above `margin`, against all ratios up to it. Else: evidence that it is
    below `margin`, against all ratios from it on.
    """
    factors = np.array(_ODDS_FACTORS if worse else [1 / factor for factor in _ODDS_FACTORS])
    log_odds = np.log(margin * np.concatenate([[1.0], factors]))
    logs = _log_factorials(max((max(one.champion, one.challenger) for one in strata), default=0))
    steps = np.zeros((len(strata), len(factors)))
    for row, one in enumerate(strata):
        bad = one.champion_bad + one.challenger_bad
        if bad and one.champion and one.challenger:
            steps[row] = _compute_log_ratios(one, bad, log_odds, logs)
    return _log_mean(np.cumsum(steps, axis=0))


def compute_log_evidence_below(strata: Sequence[Stratum], level: float) -> FloatArray:
    """Return the log of the evidence, after each stratum, that the challenger's rate of bad answers is below `level`.

    Shape [strata]. It is against all rates from `level` on, even changing ones: there an answer's likelihood under a
    lower rate, divided by its likelihood under `level`, is at most 1 on average. The products are averaged over three
    lower rates.
    """
    rates = level * np.array(_LOWER_RATE_SHARES)
    counts = np.array([(one.challenger_bad, one.challenger - one.challenger_bad) for one in strata]).reshape(-1, 2)
    logs = np.stack([np.log(rates / level), np.log((1 - rates) / (1 - level))])
    return _log_mean(np.cumsum(counts @ logs, axis=0))


def average_log_evidence(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the log of the mean of two evidences against the same hypothesis; the mean is evidence against it too."""
    return _log_mean(np.stack([first, second], axis=1))


def _compute_log_ratios(stratum: Stratum, bad: int, log_odds: FloatArray, logs: FloatArray) -> FloatArray:
    """Return the log likelihood of each odds ratio but the first, minus that of the first."""
    counts = np.arange(max(0, bad - stratum.champion), min(stratum.challenger, bad) + 1)
    weights = _log_binomial(logs, stratum.challenger, counts) + _log_binomial(logs, stratum.champion, bad - counts)
    terms = weights + log_odds[:, None] * counts
    top = terms.max(axis=1)
    log_norms = top + np.log(np.exp(terms - top[:, None]).sum(axis=1))
    log_likelihoods = log_odds * stratum.challenger_bad - log_norms
    ratios: FloatArray = log_likelihoods[1:] - log_likelihoods[0]
    return ratios


def _log_mean(logs: FloatArray) -> FloatArray:
    top = logs.max(axis=1, initial=-np.inf)
    mean: FloatArray = top + np.log(np.exp(logs - top[:, None]).mean(axis=1)) if len(logs) else top
    return mean


def _log_binomial(logs: FloatArray, total: int, chosen_counts: NDArray[Any]) -> FloatArray:
    chosen: FloatArray = logs[total] - logs[chosen_counts] - logs[total - chosen_counts]
    return chosen


def _log_factorials(largest: int) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])
