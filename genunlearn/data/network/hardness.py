"""How hard an item is to forget: scores by which an adversary would choose a forget set.

    confidence   log p(y|x) - log(1 - p(y|x)), or minus the error: what the model is surest of is given up last
    influence    squared norm of the item's own loss gradient: what has shaped the model most

The second is the self-influence of Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent"
(NeurIPS 2020), at the final weights; memorised examples score high.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genunlearn.data.network.items import Item, targets_of
from genunlearn.errors import DataError
from genunlearn.ops.fisher import gradient_norms


def hardness(model: Any, items: Sequence[Item], by: str, batch_size: int = 256) -> Tensor:
    """The score of each item, ``(items,)``, higher is harder.

    Args:
        model: A classifier or regressor (`genunlearn.domains.network.classifier`).
        items: What is scored.
        by: The measure, see the module.
        batch_size: Items in one pass.

    Raises:
        DataError: There is no such measure.
    """
    measures = {"confidence": _confidence, "influence": _influence}
    if by not in measures:
        raise DataError(f"hardness by {by!r}: give one of {', '.join(measures)}")
    return measures[by](model, items, batch_size)


def _confidence(model: Any, items: Sequence[Item], batch_size: int) -> Tensor:
    outputs, targets = model.predict(items, batch_size), targets_of(items)
    if targets.is_floating_point():
        return -model.loss_of(outputs, targets)
    log_probs = outputs.log_softmax(-1)
    own = log_probs.gather(1, targets[:, None])
    others = log_probs.scatter(1, targets[:, None], -torch.inf).logsumexp(1)
    return own[:, 0] - others


def _influence(model: Any, items: Sequence[Item], batch_size: int) -> Tensor:
    weights = {name: weight for name, weight in model.network.named_parameters() if weight.requires_grad}
    with model.inference():
        batches = (model.collate(items[i : i + batch_size]) for i in range(0, len(items), batch_size))
        return torch.cat([gradient_norms(model.sample_loss, weights, batch.tensors) for batch in batches]).cpu()
