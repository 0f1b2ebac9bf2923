"""A sequential test of which of two models is right more often; it may be looked at and stopped at any time.

Of images that both models answered, only those tell anything that one had right and the other wrong. If the two are
equally often right, each such image is either's with probability 1/2, whatever came before. The test is a bet against
that: the likelihood of wins and losses under a Beta mixture of other probabilities, over their likelihood under 1/2. A
fair bet's capital exceeds 1 / ERROR_LEVEL at any time ever with a probability of at most ERROR_LEVEL (Ville 1939). It
is the mixture sequential probability ratio test of Robbins (1970, "Statistical Methods Related to the Law of the
Iterated Logarithm", Annals of Mathematical Statistics 41) as Johari, Koomen, Pekelis and Walsh use it for experiments
that are watched (2022, "Always Valid Inference: Continuous Monitoring of A/B Tests", Operations Research 70), for the
pairs of McNemar's test.
"""

from __future__ import annotations

from math import exp, log
from typing import Literal

from scipy.special import betaln

ERROR_LEVEL = 0.05
BETA_PRIOR = 3.0  # both parameters of the Beta: a weak belief that the models are not far apart

Verdict = Literal["better", "worse", "undecided"]


def compute_evidence(wins: int, losses: int) -> float:
    """Return the evidence that two models are not right equally often: a bet's capital, which starts at 1.

    >>> compute_evidence(0, 0), round(compute_evidence(30, 10), 1)
    (1.0, 34.8)

    Args:
        wins: images that the candidate alone had right.
        losses: images that the champion alone had right.
    """
    logarithm = (
        betaln(wins + BETA_PRIOR, losses + BETA_PRIOR) - betaln(BETA_PRIOR, BETA_PRIOR) + (wins + losses) * log(2)
    )
    return exp(min(float(logarithm), 700.0))


def judge_candidate(wins: int, losses: int) -> Verdict:
    """Return whether the candidate is better or worse than the champion, wrongly with 5 % probability at most, ever.

    Arguments as of ``compute_evidence``. A verdict that was once reached holds, whatever the later counts say.
    """
    if compute_evidence(wins, losses) < 1 / ERROR_LEVEL:
        return "undecided"
    return "better" if wins > losses else "worse"
