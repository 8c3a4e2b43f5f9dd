"""Contrastive losses and the confidence-weighted distance, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.ops.contrastive import confidence_weighted_distance, supervised_contrastive

E1, E2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def test_an_embedding_is_drawn_to_its_own_label_and_from_all_others():
    # Labels 0, 0, 1 at e1, e1, e2 and T = 1. The first meets the second (product 1) and the third (product 0):
    # -log( e / (e + 1) ) = log(1 + 1/e). The second is the same. The third meets nothing of its label.
    values = supervised_contrastive(torch.stack([E1, E1, E2]), torch.tensor([0, 0, 1]), temperature=1.0)
    assert values.tolist() == pytest.approx([math.log(1 + math.exp(-1))] * 2 + [0.0])


def test_the_mean_is_over_everything_of_the_label():
    # Label 0 at e1, e1, e2: the first meets products 1 and 0, both of its label: mean of log(1 + 1/e) and log(1 + e).
    values = supervised_contrastive(torch.stack([E1, E1, E2]), torch.zeros(3, dtype=torch.long), temperature=1.0)
    assert float(values[0]) == pytest.approx((math.log(1 + math.exp(-1)) + math.log(1 + math.e)) / 2)


def test_a_teacher_is_compared_with_whole():
    # One student embedding e1 of label 0; the teacher's are e1 (label 0) and e2 (label 1); T = 0.5 makes products 2, 0.
    values = supervised_contrastive(
        E1[None],
        torch.tensor([0]),
        others=torch.stack([E1, E2]),
        other_labels=torch.tensor([0, 1]),
        temperature=0.5,
    )
    assert values.tolist() == pytest.approx([math.log(1 + math.exp(-2))])


def test_a_lone_embedding_costs_nothing_and_has_a_gradient_that_is_a_number():
    lone = E1[None].clone().requires_grad_()
    values = supervised_contrastive(lone, torch.tensor([3]))
    values.sum().backward()
    assert values.tolist() == [0.0] and lone.grad.isfinite().all()


@pytest.mark.parametrize(("is_mean", "distance"), [(False, 5.0), (True, 2.5)])
def test_the_distance_counts_as_much_as_the_teacher_is_sure(is_mean, distance):
    # Teacher (2 log 3, 0) at T = 2: softmax of (log 3, 0) is (3/4, 1/4). The student is off by (1, 2): 1 + 4 = 5.
    teacher = torch.tensor([[2 * math.log(3), 0.0]] * 2)
    values = confidence_weighted_distance(
        teacher + torch.tensor([1.0, -2.0]), teacher, torch.tensor([0, 1]), temperature=2.0, is_mean=is_mean
    )
    assert values.tolist() == pytest.approx([0.75 * distance, 0.25 * distance])
