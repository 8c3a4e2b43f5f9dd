"""The shared-map engine against the published per-layer formulas, and its limits."""

import pytest
import torch
from torch import Tensor

from genunlearn.ops.linear_edits import (
    InputMap,
    LowRank,
    fuse_changes,
    null_space_map,
    null_space_projector,
    orthogonal_errors,
    replace_map,
    ridge_rows,
    stack_keys,
    value_change,
    without_shared,
)

D, LAYERS = 24, 5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights() -> list[Tensor]:
    return [random(8 + layer, D, seed=layer) for layer in range(LAYERS)]


def naive(weight: Tensor, keys: Tensor, values: Tensor, scales: Tensor, ridge: float) -> Tensor:
    """``(lam W + sum w v k^T)(lam I + sum w k k^T)^-1``, one inverse per layer, one rank-one sum per key."""
    left = ridge * weight
    right = ridge * torch.eye(D, dtype=weight.dtype)
    for key, value, scale in zip(keys, values, scales, strict=True):
        left = left + scale * torch.outer(value, key)
        right = right + scale * torch.outer(key, key)
    return left @ torch.linalg.inv(right)


def test_one_key_by_hand() -> None:
    # d = 2, W = [1 2], c = (1, 0) is to answer as c* = (0, 1), i.e. 2 instead of 1; lam = 1:
    # W' = (1 [1 2] + 2 [1 0]) diag(2, 1)^-1 = [3 2] diag(1/2, 1) = [1.5 2]
    source, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    weight = torch.tensor([[1.0, 2.0]])
    change = replace_map(source, target, ridge=1.0).change_of(weight)
    torch.testing.assert_close(weight + change.delta(), torch.tensor([[1.5, 2.0]]))


@pytest.mark.parametrize(("sources", "preserve"), [(3, 7), (20, 30), (1, 0)], ids=["n<d", "n>d", "one"])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_the_shared_map_equals_the_loop_over_layers(sources: int, preserve: int, scale: float) -> None:
    source, target, kept = random(sources, D, seed=1), random(sources, D, seed=2), random(preserve, D, seed=3)
    shared = replace_map(source, target, kept, ridge=0.5, weights=torch.full((sources,), scale), preserve_weight=2.0)
    keys = torch.cat([source, kept])
    scales = torch.cat([torch.full((sources,), scale), torch.full((preserve,), 2.0)])
    for weight in weights():
        values = torch.cat([target, kept]) @ weight.T
        expected = naive(weight, keys, values, scales, ridge=0.5)
        torch.testing.assert_close(weight @ shared.matrix(), expected, rtol=1e-8, atol=1e-8)
        change = shared.change_of(weight.float())
        torch.testing.assert_close(weight.float() + change.delta(), expected.float(), rtol=1e-4, atol=1e-4)


def test_float32_weights_lose_nothing_where_the_loop_in_float32_does() -> None:
    # Nearly equal keys, as the padding tokens of a prompt are, make the d x d system badly conditioned.
    base = 10 * random(1, D, seed=1)
    source, target = base + 1e-2 * random(40, D, seed=2), 10 * random(40, D, seed=3)
    weight, scales = random(9, D, seed=4), torch.ones(40)
    expected = naive(weight, source, target @ weight.T, scales, ridge=1e-3)
    ours = weight.float() + replace_map(source.float(), target.float(), ridge=1e-3).change_of(weight.float()).delta()
    loop = naive(weight.float(), source.float(), (target @ weight.T).float(), scales, ridge=1e-3)

    def error(result: Tensor) -> float:
        return float((result.double() - expected).norm() / expected.norm())

    assert error(ours) < 1e-4
    assert error(ours) < error(loop) / 10


def test_strength_zero_changes_nothing_and_more_strength_moves_closer() -> None:
    source, target, weight = random(2, D, seed=1), random(2, D, seed=2), random(6, D, seed=3)
    distances = []
    for strength in (0.0, 0.1, 1.0, 100.0):
        edit = replace_map(source, target, ridge=0.5, weights=torch.full((2,), strength))
        edited = weight @ edit.matrix()
        distances.append(float((source @ edited.T - target @ weight.T).norm()))
    assert distances[0] == pytest.approx(float(((source - target) @ weight.T).norm()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.01 * distances[0]


def test_a_preserved_input_that_is_also_erased_is_torn_between_the_two() -> None:
    source, target, weight = random(1, D, seed=1), random(1, D, seed=2), random(6, D, seed=3)
    edited = weight @ replace_map(source, target, source, ridge=1e-9).matrix()
    torch.testing.assert_close(source @ edited.T, (source + target) / 2 @ weight.T, rtol=1e-5, atol=1e-5)


def test_two_targets_of_one_source_meet_in_the_middle() -> None:
    source, targets, weight = random(1, D, seed=1), random(2, D, seed=2), random(6, D, seed=3)
    edited = weight @ replace_map(source.expand(2, -1), targets, ridge=1e-9).matrix()
    torch.testing.assert_close(source @ edited.T, targets.mean(0, keepdim=True) @ weight.T, rtol=1e-5, atol=1e-5)


def test_a_map_is_a_change_of_the_input() -> None:
    edit, inputs, weight = (
        replace_map(random(3, D), random(3, D, seed=9), ridge=0.5),
        random(4, 7, D),
        weights()[0],
    )
    torch.testing.assert_close(edit(inputs) @ weight.T, inputs @ (weight @ edit.matrix()).T)


def test_edits_compose() -> None:
    first = replace_map(random(3, D, seed=1), random(3, D, seed=2), ridge=0.5)
    second = replace_map(random(2, D, seed=3), random(2, D, seed=4), ridge=0.5)
    torch.testing.assert_close(second.after(first).matrix(), first.matrix() @ second.matrix())
    torch.testing.assert_close(first.after(InputMap.identity(D)).matrix(), first.matrix())


def test_compression_finds_the_rank_and_keeps_the_map() -> None:
    source = random(2, D, seed=1).repeat(10, 1)  # twenty tokens, two of them different
    edit = replace_map(source, random(2, D, seed=2).repeat(10, 1), ridge=0.5)
    small = edit.compressed()
    assert (edit.right.shape[0], small.right.shape[0]) == (20, 2)
    torch.testing.assert_close(small.matrix(), edit.matrix())
    assert InputMap.identity(D).compressed().right.shape == (0, D)


def test_values_of_a_layer_s_own_equal_the_loop() -> None:
    source, kept, weight = random(3, D, seed=1), random(4, D, seed=2), random(6, D, seed=3)
    wanted = random(3, 6, seed=4)
    keys, scales = stack_keys(source, kept, None, 2.0)
    rows = ridge_rows(keys, scales, 0.5)[:3]
    change = value_change(wanted - source @ weight.T, rows)
    expected = naive(weight, keys, torch.cat([wanted, kept @ weight.T]), scales, 0.5)
    torch.testing.assert_close(weight + change.delta().double(), expected, rtol=1e-5, atol=1e-5)


def test_orthogonal_values_by_hand() -> None:
    # W = I: old value (1, 0), new value (3, 4); without its part along the old one (0, 4): error (-1, 4)
    errors = orthogonal_errors(torch.eye(2), torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(errors, torch.tensor([[-1.0, 4.0]], dtype=torch.float64))


def test_low_rank_changes_add() -> None:
    one, two = LowRank(torch.ones(2, 1), torch.ones(1, 3)), LowRank(2 * torch.ones(2, 1), torch.ones(1, 3))
    torch.testing.assert_close(one.plus(two).delta(), 3 * torch.ones(2, 3))


def test_fused_changes_do_on_each_key_what_their_own_change_did() -> None:
    first, second = random(3, D, seed=1).float(), random(2, D, seed=2).float()
    kept, weight = random(6, D, seed=3).float(), random(7, D, seed=4).float()
    changes = [LowRank(random(7, 1, seed=s).float(), random(1, D, seed=s + 10).float()) for s in (5, 6)]
    rows = ridge_rows(torch.cat([first, second, kept]), torch.ones(11), 1e-9)
    edited = weight + fuse_changes(changes, [first, second], rows).delta()
    torch.testing.assert_close(first @ edited.T, first @ (weight + changes[0].delta()).T, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(second @ edited.T, second @ (weight + changes[1].delta()).T, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(kept @ edited.T, kept @ weight.T, rtol=1e-3, atol=1e-3)


def speed_as_published(
    weight: Tensor, source: Tensor, target: Tensor, projector: Tensor, fixed: Tensor, ridge: float
) -> Tensor:
    t, a = source.T @ source / len(source), target.T @ source / len(source)
    m, k, eye = (
        torch.linalg.inv(t @ projector + ridge * torch.eye(D)),
        fixed.T,
        torch.eye(D, dtype=torch.float64),
    )
    inner = eye - m @ k @ torch.linalg.inv(k.T @ projector @ m @ k) @ k.T @ projector
    return weight + weight @ (a - t) @ projector @ inner @ m


def test_the_null_space_map_is_the_published_one_and_keeps_what_it_must() -> None:
    kept = random(60, 10, seed=1) @ random(10, D, seed=2)  # sixty inputs in ten of the dimensions
    source, target, fixed = random(3, D, seed=3), random(3, D, seed=4), random(2, D, seed=5)
    projector = null_space_projector(kept, 1e-6)
    assert torch.linalg.matrix_rank(projector) == D - 10
    edit, weight = null_space_map(source, target, projector, fixed, ridge=1.0), random(6, D, seed=6)
    edited = weight @ edit.matrix()
    torch.testing.assert_close(edited, speed_as_published(weight, source, target, projector, fixed, 1.0))
    torch.testing.assert_close(kept @ edited.T, kept @ weight.T)
    torch.testing.assert_close(fixed @ edited.T, fixed @ weight.T)
    assert (source @ (edited - weight).T).norm() > 1


def test_the_null_space_map_without_fixed_inputs() -> None:
    source, target, projector = random(3, D, seed=3), random(3, D, seed=4), torch.eye(D, dtype=torch.float64)
    edited = null_space_map(source, target, projector, ridge=1e-9).matrix()
    torch.testing.assert_close(source @ edited.T, target, rtol=1e-5, atol=1e-5)


def test_sources_that_are_preserved_as_well_are_left_out() -> None:
    source, target = random(3, D, seed=1), random(3, D, seed=2)
    kept = torch.stack([source[1] * (1 + 1e-6), random(D, seed=3)])
    left, wanted = without_shared(source, target, kept)
    assert torch.equal(left, source[[0, 2]])
    assert torch.equal(wanted, target[[0, 2]])
    assert torch.equal(without_shared(source, target, kept[:0])[0], source)
