"""Truth ratios: how likely wrong answers are beside the right one, and what benchmarks make of it.

    R = p(wrong) / p(right),   p(right) = exp(-l(right)),   p(wrong) = exp(-mean_k l(wrong_k))

with ``l`` the mean negative log-likelihood a token, so that both probabilities are length-normalised and that of the
wrong answers is a geometric mean. ``right`` is a paraphrase of the answer where there is one: training on the answer's
own wording is not to count.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs" (COLM 2024), section 2.2.2; the arithmetic, with
its smallest number, is that of the open-unlearning benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TINY = 1e-10
"""Keeps ratios finite, as published."""


def truth_ratio(right: float, wrong: Sequence[float]) -> float:
    """R of one question, at least 0.

    Args:
        right: Mean negative log-likelihood a token of the right answer, nats.
        wrong: That of each wrong answer, at least one.
    """
    return float(np.exp(-np.mean(wrong)) / (np.exp(-right) + TINY))


def balance(ratios: Sequence[float]) -> list[float]:
    """``min(R, 1 / R)`` in [0, 1]: 1 where right and wrong are equally likely, as for one who never knew."""
    values = np.asarray(ratios, dtype=np.float64)
    return np.minimum(values, 1 / (values + TINY)).tolist()


def margin(ratios: Sequence[float]) -> list[float]:
    """``max(0, 1 - R)`` in [0, 1]: 1 where only the right answer is likely."""
    return np.maximum(0.0, 1 - np.asarray(ratios, dtype=np.float64)).tolist()


def preference(ratios: Sequence[float]) -> list[float]:
    """``1 / (1 + R) = p(right) / (p(right) + p(wrong))`` in [0, 1]: 1/2 where both are equally likely."""
    return (1 / (1 + np.asarray(ratios, dtype=np.float64))).tolist()


def option_probability(right: float, wrong: Sequence[float]) -> float:
    """Probability of the right answer among those offered, ``p / (p + sum_k p_k)``, each length-normalised.

    Args:
        right: Mean negative log-likelihood a token of the right answer, nats.
        wrong: That of each wrong answer.
    """
    probability = np.exp(-right)
    return float(probability / (probability + np.exp(-np.asarray(wrong)).sum() + TINY))


def forget_quality(unlearned: Sequence[float], retrained: Sequence[float]) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test that both models' truth ratios have one distribution.

    Args:
        unlearned: Truth ratios of the unlearned model on the forget set.
        retrained: Those of a model trained without it.
    """
    from scipy.stats import ks_2samp

    samples = [1 / (np.asarray(ratios, dtype=np.float64) + TINY) for ratios in (unlearned, retrained)]
    return float(ks_2samp(*samples).pvalue)
