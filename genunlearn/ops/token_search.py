"""Searching for tokens by gradients: from distributions over a vocabulary, or vectors next to it, to tokens and back.

    simplex    argmin_p |p - x|^2  with p >= 0 and sum p = 1:   p = max(0, x - tau), tau = (sum of k largest - 1) / k
    one-hot    forward a token drawn from p, backward the gradient of p itself (straight-through)
    nearest    forward the token nearest to a vector, backward the gradient of the vector

Sources: Duchi et al., "Efficient Projections onto the l1-Ball" (ICML 2008) for the projection, here for all rows by one
sort; Zhang et al., UnlearnDiffAtk (ECCV 2024) and Chin et al., Prompting4Debugging (ICML 2024) for the searches.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 4096
"""Vectors that are compared with the vocabulary at once."""


def project_to_simplex(values: Tensor) -> Tensor:
    """The nearest distribution to each row ``(..., vocabulary)``, all rows at once."""
    ordered = values.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    ranks = torch.arange(1, values.shape[-1] + 1, device=values.device)
    support = (ordered * ranks > excess).sum(-1, keepdim=True)
    threshold = excess.gather(-1, support - 1) / support
    return (values - threshold).clamp_min(0)


def drawn_one_hot(shares: Tensor, generator: torch.Generator) -> Tensor:
    """A token drawn from each distribution ``(..., vocabulary)``, one-hot; gradients go to the shares as they are."""
    flat = shares.detach().flatten(0, -2).clamp_min(0).cpu()
    drawn = torch.multinomial(flat + 1e-12, 1, generator=generator).view(*shares.shape[:-1], 1).to(shares.device)
    hard = torch.zeros_like(shares).scatter(-1, drawn, 1.0)
    return hard + shares - shares.detach()


def nearest_tokens(vectors: Tensor, vocabulary: Tensor, banned: Tensor | None = None) -> Tensor:
    """The token nearest to each vector.

    Args:
        vectors: ``(..., width)``.
        vocabulary: ``(tokens, width)``.
        banned: ``(k,)`` tokens that are not to be taken.

    Returns:
        ``(...)`` int64.
    """
    flat = vectors.detach().flatten(0, -2).float()
    found = []
    for chunk in flat.split(CHUNK):
        distances = torch.cdist(chunk, vocabulary.float())
        if banned is not None:
            distances[:, banned] = torch.inf
        found.append(distances.argmin(1))
    return torch.cat(found).view(vectors.shape[:-1])


def snapped(vectors: Tensor, vocabulary: Tensor, banned: Tensor | None = None) -> Tensor:
    """The vectors of the nearest tokens, shaped like `vectors`; gradients go to the vectors as they are."""
    nearest = vocabulary[nearest_tokens(vectors, vocabulary, banned)].to(vectors)
    return nearest + vectors - vectors.detach()
