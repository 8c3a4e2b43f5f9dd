"""How random predictions are: their entropy, and their likeness to those of an untrained network.

    ZRF(x) = 1 - JS( f(x) || b(x) )        b an untrained network of the same architecture, JS in bits

The zero retrain forgetting score of a set is the mean over its examples. 1 says "as random as b", which is more random
than a network that was retrained without the examples: read it beside that network's score.

Source: Chundawat, Tarun, Mandal, Kankanhalli, "Can Bad Teaching Induce Forgetting? Unlearning in Deep Networks Using
an Incompetent Teacher" (AAAI 2023), section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genunlearn.ops.divergences import jensen_shannon, jensen_shannon_authors


def zero_retrain_forgetting(logits: Tensor, untrained_logits: Tensor) -> Tensor:
    """The score with the true Jensen-Shannon divergence.

    Args:
        logits: ``(batch, classes)`` of the network under test.
        untrained_logits: ``(batch, classes)`` of the untrained network.

    Returns:
        ``(batch,)`` in [0, 1], 1 for equal predictions.
    """
    return 1 - jensen_shannon(logits, untrained_logits)


def zero_retrain_forgetting_authors(logits: Tensor, untrained_logits: Tensor) -> Tensor:
    """The score as the authors' code computes it, which nearly every published value comes from.

    It takes ``(KL(m || p) + KL(m || q)) / (2 classes)`` for the divergence: arguments reversed, nats, and divided by
    the number of classes. The score therefore crowds towards 1 as classes are added, and has no lower bound.

    Args:
        logits: ``(batch, classes)`` of the network under test.
        untrained_logits: ``(batch, classes)`` of the untrained network.

    Returns:
        ``(batch,)``, at most 1.
    """
    return 1 - jensen_shannon_authors(logits, untrained_logits)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of predictions in nats, ``(batch,)``, between 0 and log(classes).

    Args:
        logits: ``(batch, classes)``.
    """
    log_probs = logits.float().log_softmax(-1)
    probs = log_probs.exp()
    return -torch.where(probs > 0, probs * log_probs, 0.0).sum(-1)
