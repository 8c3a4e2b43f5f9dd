"""What is made of membership scores: areas, rates, curves; and the relative score of RMIA.

A score is higher for what looks more like a member of the training data.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from genunlearn.ops.intervals import LEVEL, of_pairs, share


def auc(members: Tensor, others: Tensor) -> tuple[float, float, float]:
    """Area under the ROC curve with its interval: the chance that a member scores above a non-member, ties half.

    Args:
        members: ``(members,)`` scores, at least one.
        others: ``(others,)`` scores, at least one.

    Returns:
        ``(value, low, high)`` in [0, 1]; the interval is DeLong's, or that of `intervals.of_pairs` where DeLong's finds
        nothing that varies: one score alone, scores that do not overlap or are all equal.

    Source: DeLong, DeLong, Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
    Characteristic Curves" (Biometrics 1988).
    """
    from scipy.stats import norm

    above = _share_below(members, others)
    value = float(above.mean())
    error = math.sqrt(_variance(above) + _variance(_share_below(others, members)))
    if not error or min(len(members), len(others)) == 1:
        return value, *of_pairs(value, len(members), len(others))
    half = float(norm.ppf((1 + LEVEL) / 2)) * error
    return value, max(0.0, value - half), min(1.0, value + half)


def true_positive_rate(members: Tensor, others: Tensor, at: float) -> tuple[float, float, float]:
    """Share of members found while at most the share `at` of non-members is taken for members.

    Args:
        members: ``(members,)`` scores, at least one.
        others: ``(others,)`` scores, at least ``1 / at``.
        at: False positive rate, between 0 and 1.

    Returns:
        ``(value, low, high)``, the interval exact for the members with the threshold taken as given.
    """
    allowed = math.floor(at * len(others) + 1e-9)
    threshold = others.sort(descending=True).values[allowed]
    return share(int((members > threshold).sum()), len(members))


def roc(members: Tensor, others: Tensor) -> list[tuple[float, float]]:
    """The ROC curve as (false positive rate, true positive rate), from (0, 0) to (1, 1), one point a distinct score."""
    scores = torch.cat([members, others]).double()
    is_member = torch.cat([torch.ones(len(members)), torch.zeros(len(others))])
    order = scores.argsort(descending=True, stable=True)
    ends = torch.cat([scores[order].diff() != 0, torch.ones(1, dtype=torch.bool)])
    true = is_member[order].cumsum(0)[ends] / len(members)
    false = (1 - is_member[order]).cumsum(0)[ends] / len(others)
    return [(0.0, 0.0), *zip(false.tolist(), true.tolist(), strict=True)]


def marginal_probability(references: Tensor, offset: float) -> Tensor:
    """p(x), what networks give to x that may or may not have seen it, from networks that have not.

    It is the mean of p_out and its estimate for networks that have, ``offset p_out + 1 - offset``.

    Args:
        references: ``(networks, examples)`` probabilities of the true class.
        offset: a, 1 where having seen x makes no difference.

    Returns:
        ``(examples,)``.
    """
    return ((1 + offset) * references.mean(0) + 1 - offset) / 2


def relative_membership(ratios: Tensor, population: Tensor, gamma: float) -> Tensor:
    """RMIA's score: the share of a population over which x dominates.

    Args:
        ratios: ``(examples,)``, p(x | network) / p(x).
        population: ``(population,)``, the same of examples that nobody was trained on.
        gamma: By what factor x has to exceed one of them.

    Returns:
        ``(examples,)`` in [0, 1].

    Source: Zarifzadeh, Liu, Shokri, "Low-Cost High-Power Membership Inference Attacks" (ICML 2024), eq. 4 and 5.
    """
    bounds = (population * gamma).sort().values
    return torch.searchsorted(bounds, ratios.contiguous(), right=True) / len(population)


def lowest(values: Tensor, mask: Tensor, part: float) -> Tensor:
    """Mean of the smallest values of each row: Min-K% where they are log-probabilities of tokens.

    Args:
        values: ``(rows, tokens)``.
        mask: ``(rows, tokens)``, what counts; at least one a row.
        part: Share of a row's values that is taken, at least one of them.

    Returns:
        ``(rows,)``.

    Source: Shi et al., "Detecting Pretraining Data from Large Language Models" (ICLR 2024), eq. 1.
    """
    counts = (mask.sum(-1) * part).floor().clamp_min(1)
    ordered = values.masked_fill(~mask, math.inf).sort(-1).values
    taken = torch.arange(values.shape[-1], device=values.device) < counts[:, None]
    return ordered.where(taken, torch.zeros_like(ordered)).sum(-1) / counts


def standardised(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the log-probability of each token lies above what the model expects of its own: Min-K%++ before the mean.

        (log p(x) - mu) / sigma,  mu = sum_v p(v) log p(v),  sigma^2 = sum_v p(v) log^2 p(v) - mu^2

    Args:
        logits: ``(..., vocab)``.
        labels: ``(...)``, tokens within the vocabulary.

    Source: Zhang et al., "Min-K%++: Improved Baseline for Detecting Pre-Training Data from Large Language Models" (ICLR
    2025), eq. 3.
    """
    logprobs = logits.double().log_softmax(-1)
    probabilities = logprobs.exp()
    expected = (probabilities * logprobs).sum(-1)
    variance = (probabilities * logprobs.square()).sum(-1) - expected.square()
    own = logprobs.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return (own - expected) / variance.clamp_min(1e-12).sqrt()


def privleak(area: float, control: float) -> float:
    """PrivLeak in percent: how far the area under the ROC curve of non-members lies from the control's.

        100 ((1 - AUC) - (1 - AUC_control)) / (1 - AUC_control)

    Below 0 members are told from non-members more easily than in the control, above 0 less easily.

    Args:
        area: Area of the attack on the model, members above non-members.
        control: The same of a model that never saw the members, below 1; 0.5 where there is none.

    Source: Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models" (2024), section 3.
    """
    return 100 * (control - area) / (1 - control)


def _share_below(scores: Tensor, others: Tensor) -> np.ndarray:
    """For each score the share of `others` below it, equal ones counting half."""
    values, sorted_others = scores.double().numpy(), np.sort(others.double().numpy())
    ranks = np.searchsorted(sorted_others, values, "left") + np.searchsorted(sorted_others, values, "right")
    return ranks / (2 * len(sorted_others))


def _variance(placements: np.ndarray) -> float:
    """Variance of the mean of placement values; one value tells nothing and counts as 0."""
    return float(placements.var(ddof=1)) / len(placements) if len(placements) > 1 else 0.0
