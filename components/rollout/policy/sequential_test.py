"""Are a challenger's odds of a bad answer above `margin` times the champion's? A test that may be looked at always.

Answers, one of each key, come in strata: stretches of time in which every key was drawn with one share. Given a
stratum's sizes and its number of bad answers, how many of them are the challenger's follows Fisher's noncentral
hypergeometric law, in which only the odds ratio is left: how often answers are bad at that hour, for either arm, plays
no part (Cornfield 1956). So a busy hour, a failing network or a share that grows cannot look like a worse version.

Nor can keys that differ from each other. Where each key's own odds ratio is at most m >= 1, the likelihood ratio of
what happens to Fisher's law at m falls with the challenger's bad answers. For a key write A, B, C, D for the chances of
(challenger, bad), (challenger, good), (champion, bad), (champion, good). Given sizes and bad answers, any outcome with
u+1 bad answers of the challenger has a key that is one of them, and another that the champion answered well; with bad
and good swapped between these two it is one with u. Summed over all choices it suffices that for any two keys
A D' + A' D <= m (B C' + B' C). At odds ratio m, A D = m B C, and B/D falls where C/D grows: what is left to show is
(B/D - B'/D')(C/D - C'/D') <= 0. A lesser ratio has less A and more B. It takes one share for all keys, which cancels.
For keys drawn from many, the same is known as odds ratios of mixtures lying nearer to 1 (Gail, Wieand and Piantadosi
1984). In a shadow a key is in both arms, which leaves less to chance than the law does.

The evidence is the likelihood of worse odds ratios, mixed over a grid, to that of the margin. The law's likelihood
ratio grows with the challenger's bad answers, so under any odds ratio up to the margin, even one that changes, each
stratum multiplies the evidence by at most 1 on average: it is a nonnegative supermartingale that starts at 1, and the
chance that it EVER reaches 1/alpha is at most alpha (Ville 1939; mixtures: Robbins 1970; Ramdas, Grünwald, Vovk and
Shafer 2023, doi:10.1214/23-STS894). The other way round, that it is no worse, is said of the keys taken together: of
their mean rates, not of each key's odds. Knows no check and no policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_ODDS_FACTORS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How much beyond the margin the odds ratios are that the evidence is sought for, in equal parts."""

_LOWER_RATE_SHARES = (0.02, 0.25, 0.5)
"""Parts of a level at which rates below it are sought."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Answers of both arms under one share, one of each key, and how many of them were bad."""

    champion: int
    champion_bad: int
    challenger: int
    challenger_bad: int


def compute_log_evidence(strata: Sequence[Stratum], margin: float, *, worse: bool) -> FloatArray:
    """Log of the evidence after each stratum.

    With `worse`: that the odds ratio is above `margin`, against all up to it. Else: that it is below, against the rest.
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
    """Log of the evidence, after each stratum, that the challenger's answers are bad less often than `level`.

    Against all rates from `level` on, even ones that change: each answer's likelihood under a lesser rate, divided by
    that under `level`, is worth at most 1 on average there, and the products are mixed over three lesser rates.
    """
    rates = level * np.array(_LOWER_RATE_SHARES)
    counts = np.array([(one.challenger_bad, one.challenger - one.challenger_bad) for one in strata]).reshape(-1, 2)
    logs = np.stack([np.log(rates / level), np.log((1 - rates) / (1 - level))])
    return _log_mean(np.cumsum(counts @ logs, axis=0))


def average_log_evidence(first: FloatArray, second: FloatArray) -> FloatArray:
    """Log of the mean of two evidences against the same hypothesis, which is evidence against it too."""
    return _log_mean(np.stack([first, second], axis=1))


def _compute_log_ratios(stratum: Stratum, bad: int, log_odds: FloatArray, logs: FloatArray) -> FloatArray:
    """Log likelihood of each further odds ratio minus that of the first."""
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
