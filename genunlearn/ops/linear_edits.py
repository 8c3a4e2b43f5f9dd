"""Closed-form edits of linear layers that all read one input, such as keys and values of cross-attention.

The edit that UCE, TIME and MACE solve for every W, with keys k_i, wanted values v_i and weights w_i, is

    W' = (lam W + sum_i w_i v_i k_i^T) (lam I + sum_i w_i k_i k_i^T)^-1
       = W + sum_i (v_i - W k_i) r_i,   R = diag(w) K (lam I_d + K^T diag(w) K)^-1

where the rows R are the same for every layer (push-through identity): one solve, n x n or d x d, whichever is
smaller, instead of an inverse per layer. Where each wanted value is the layer's own answer to another input,
v_i = W c_i*,

    W' = W (I + (C* - K)^T R)

the same map of the input serves every layer, has rank n, and therefore is an exact LoRA; keys that are to
keep their value (c_i* = k_i) enter R only. Solves run in float64 on n or d rows, so that float32 weights lose
nothing.

Sources: Gandikota et al., UCE (WACV 2024); Orgad et al., TIME (ICCV 2023); Lu et al., MACE (CVPR 2024);
Li et al., SPEED (ICLR 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """A change ``up @ down`` of one matrix, the factors of a LoRA.

    Attributes:
        up: ``(out, rank)``.
        down: ``(rank, d)``.
    """

    up: Tensor
    down: Tensor

    def delta(self) -> Tensor:
        """The change of the matrix, ``(out, d)``."""
        return self.up @ self.down

    def plus(self, other: LowRank) -> LowRank:
        """Both changes in one."""
        return LowRank(torch.cat([self.up, other.up], 1), torch.cat([self.down, other.down]))


@dataclass(frozen=True)
class InputMap:
    """The map ``x -> x + left (right x)`` of a layer's input, for every layer that reads this input.

    Attributes:
        left: ``(d, rank)`` in float64.
        right: ``(rank, d)`` in float64.
    """

    left: Tensor
    right: Tensor

    @classmethod
    def identity(cls, dim: int) -> InputMap:
        """The map that changes nothing."""
        return cls(torch.zeros(dim, 0, dtype=torch.float64), torch.zeros(0, dim, dtype=torch.float64))

    def matrix(self) -> Tensor:
        """``I + left right``, ``(d, d)``."""
        return torch.eye(len(self.left), dtype=self.left.dtype, device=self.left.device) + self.left @ self.right

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map inputs ``(..., d)``."""
        left, right = self.left.to(inputs), self.right.to(inputs)
        return inputs + (inputs @ right.T) @ left.T

    def change_of(self, weight: Tensor) -> LowRank:
        """What the map does to a matrix ``(out, d)``: ``W' = W + (W left) right``, in float32."""
        left, right = (part.to(weight.device, torch.float32) for part in (self.left, self.right))
        return LowRank(weight.detach().float() @ left, right)

    def after(self, first: InputMap) -> InputMap:
        """The map of both edits when `first` is made before `self`: ``W'' = (W M_first) M_self``."""
        left = torch.cat([first.left, self.left + first.left @ (first.right @ self.left)], 1)
        return InputMap(left, torch.cat([first.right, self.right]))

    def compressed(self, tolerance: float = 1e-6) -> InputMap:
        """The same map with the smallest rank whose relative error (spectral norm) is at most `tolerance`."""
        basis, triangle = torch.linalg.qr(self.left)
        u, sizes, v = torch.linalg.svd(triangle @ self.right, full_matrices=False)
        rank = int((sizes > tolerance * sizes[:1]).sum()) if len(sizes) else 0
        return InputMap(basis @ (u[:, :rank] * sizes[:rank]), v[:rank])


def ridge_rows(keys: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """``R = diag(w) K (ridge I + K^T diag(w) K)^-1``: how much of each key an input holds.

    Args:
        keys: ``(n, d)``, one key a row.
        weights: ``(n,)``, at least 0.
        ridge: lam, above 0.

    Returns:
        ``(n, d)`` in float64.
    """
    scale = weights.double().sqrt().unsqueeze(1)
    scaled = scale * keys.double()
    count, dim = scaled.shape
    gram = scaled @ scaled.T if count <= dim else scaled.T @ scaled
    gram.diagonal().add_(ridge)
    if count <= dim:
        return scale * torch.linalg.solve(gram, scaled)
    return scale * torch.linalg.solve(gram, scaled, left=False)


def replace_map(
    sources: Tensor,
    targets: Tensor,
    preserve: Tensor | None = None,
    *,
    ridge: float,
    weights: Tensor | None = None,
    preserve_weight: float = 1.0,
) -> InputMap:
    """The map after which every layer answers to `sources` as it answered to `targets`.

    Args:
        sources: ``(n, d)``, inputs to be replaced.
        targets: ``(n, d)``, inputs whose answers they get.
        preserve: ``(m, d)``, inputs whose answers are to stay.
        ridge: lam, the pull towards the unedited weights.
        weights: ``(n,)`` of the sources; ones by default. With weights 0 the map is the identity.
        preserve_weight: Of each preserved input.
    """
    keys, key_weights = stack_keys(sources, preserve, weights, preserve_weight)
    rows = ridge_rows(keys, key_weights, ridge)[: len(sources)]
    return InputMap((targets.double() - sources.double()).T.contiguous(), rows)


def without_shared(
    sources: Tensor, targets: Tensor, preserve: Tensor, tolerance: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """Leave out sources that are preserved inputs as well, up to a relative distance of `tolerance`.

    Concepts that begin alike share tokens which tell nothing: ``digit`` of "digit seven" and of "digit
    three".
    """
    if not len(preserve):
        return sources, targets
    distance = torch.cdist(sources.double(), preserve.to(sources).double()).min(1).values
    is_own = distance > tolerance * sources.double().norm(dim=1)
    return sources[is_own], targets[is_own]


def stack_keys(
    sources: Tensor, preserve: Tensor | None, weights: Tensor | None, preserve_weight: float
) -> tuple[Tensor, Tensor]:
    """Sources and preserved inputs as one set of keys with their weights, sources first."""
    weights = torch.ones(len(sources), device=sources.device) if weights is None else weights.to(sources.device)
    if preserve is None or not len(preserve):
        return sources, weights
    kept = torch.full((len(preserve),), preserve_weight, device=sources.device)
    return torch.cat([sources, preserve.to(sources)]), torch.cat([weights, kept.to(weights)])


def value_change(errors: Tensor, rows: Tensor) -> LowRank:
    """The change of one matrix whose wanted values are its own affair, ``W' = W + errors^T rows``.

    Args:
        errors: ``(n, out)``, wanted values less the present ones, ``v_i - W k_i``.
        rows: ``(n, d)`` from `ridge_rows`, shared by all layers.
    """
    return LowRank(errors.float().T.contiguous(), rows.to(errors.device, torch.float32))


def orthogonal_errors(weight: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
    """Value errors for values of `targets` without their part along the value of the source, ``(n, out)``.

    ``v_i = W c_i* - (<W c_i*, W c_i> / |W c_i|^2) W c_i``, UCE's "tensor" technique.
    """
    old, new = (inputs.to(weight.device).double() @ weight.double().T for inputs in (sources, targets))
    along = (new * old).sum(1, keepdim=True) / old.square().sum(1, keepdim=True).clamp_min(1e-12)
    return new - along * old - old


def fuse_changes(changes: Sequence[LowRank], keys: Sequence[Tensor], rows: Tensor) -> LowRank:
    """One change of a matrix that does on each key set what its own change did.

    Least squares over ``W' k = (W + change_i) k`` for the keys of change i, MACE's fusion of one LoRA a
    concept.

    Args:
        changes: One for each concept.
        keys: Its inputs, ``(n_i, d)``.
        rows: From `ridge_rows` over all keys in order, preserved ones after them.
    """
    errors = [(inputs.to(c.down) @ c.down.T) @ c.up.T for c, inputs in zip(changes, keys, strict=True)]
    stacked = torch.cat(errors)
    return value_change(stacked, rows[: len(stacked)])


def null_space_projector(inputs: Tensor, threshold: float) -> Tensor:
    """Projector onto the directions that `inputs` hardly use, ``(d, d)`` in float64.

    Args:
        inputs: ``(m, d)``, inputs that are to keep their answers.
        threshold: Directions whose mean square over `inputs` is below it count as unused.
    """
    rows = inputs.double()
    sizes, directions = torch.linalg.eigh(rows.T @ rows / max(1, len(rows)))
    unused = directions[:, sizes < threshold]
    return unused @ unused.T


def null_space_map(
    sources: Tensor, targets: Tensor, projector: Tensor, fixed: Tensor | None = None, *, ridge: float = 1.0
) -> InputMap:
    """Replace within a null space: preserved inputs keep their answers exactly (SPEED).

    ``Delta = W (A - T) P [I - M K (K^T P M K)^+ K^T P] M`` with ``T = mean c c^T``, ``A = mean c* c^T``,
    ``M = (T P + r I)^-1``, P the projector and the columns of K inputs whose answers must not move at all.

    Args:
        sources: ``(n, d)``.
        targets: ``(n, d)``.
        projector: ``(d, d)`` from `null_space_projector`.
        fixed: ``(f, d)`` inputs under the hard constraint.
        ridge: r.
    """
    count, dim = sources.shape
    sources, projector = sources.double(), projector.double()
    # rows X = C P [...] M, of which only n are needed: x M = solve(M^-1, x) from the right
    inverse = sources.T @ (sources @ projector) / count + ridge * torch.eye(dim, dtype=torch.float64).to(sources)
    left = (targets.double() - sources).T / count
    rows = sources @ projector
    if fixed is None or not len(fixed):
        return InputMap(left, torch.linalg.solve(inverse, rows, left=False))
    keys = fixed.double().T
    moved = torch.linalg.solve(inverse, keys)
    held = keys.T @ projector
    correction = (rows @ moved) @ torch.linalg.pinv(held @ moved, hermitian=False) @ held
    return InputMap(left, torch.linalg.solve(inverse, rows - correction, left=False))
