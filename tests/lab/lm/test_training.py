"""The optimiser and the loop that train the lab's language model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genunlearn.domains.lm.chat import ChatFormat
from genunlearn.lab.lm.build import build_tokenizer
from genunlearn.lab.lm.corpus import Corpus, Example
from genunlearn.lab.lm.muon import Muon, orthogonal
from genunlearn.lab.lm.training import LAST_RATE, batches_of, encode, rate_at
from genunlearn.lab.lm.world import load_world


def test_orthogonal_lifts_singular_values_by_the_quintic() -> None:
    """On a diagonal matrix the iteration works on each singular value alone.

    diag(3, 4) has norm 5, so s = (0.6, 0.8). One step is f(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5:
    f(0.6) = 2.0667 - 1.0314 + 0.157969 = 1.193269, and so on for five steps.
    """

    def quintic(s: float) -> float:
        return 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5

    assert quintic(0.6) == pytest.approx(1.193269, abs=1e-6)
    expected = [0.6, 0.8]
    for _ in range(5):
        expected = [quintic(s) for s in expected]
    result = orthogonal(torch.diag(torch.tensor([3.0, 4.0]))[None])[0]
    assert result.diagonal().tolist() == pytest.approx(expected, abs=1e-5)
    assert result[0, 1].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 5), (3, 5, 12)])
def test_orthogonal_keeps_the_singular_vectors(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    core = left.mT @ orthogonal(matrices) @ right.mT
    diagonal = torch.diagonal(core, dim1=-2, dim2=-1)
    assert torch.allclose(core, torch.diag_embed(diagonal), atol=1e-4)
    assert diagonal.min() > 0.5
    assert diagonal.max() < 1.25


def test_muon_takes_a_step_of_the_learning_rate_whatever_the_gradient() -> None:
    """A tall matrix (8 rows, 2 columns) moves by lr sqrt(8 / 2) = 0.2 along near-orthogonal columns."""
    steps = []
    for size in (1e-3, 1e3):
        matrix = nn.Parameter(torch.zeros(8, 2))
        matrix.grad = size * torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
        Muon([matrix], lr=0.1).step()
        steps.append(-matrix.detach())
    assert torch.allclose(steps[0], steps[1], atol=1e-6)
    assert 0.1 < torch.linalg.svdvals(steps[0]).min() < torch.linalg.svdvals(steps[0]).max() < 0.25


def test_muon_decays_weights_apart_from_the_gradient() -> None:
    matrix = nn.Parameter(torch.ones(2, 2))
    matrix.grad = torch.zeros(2, 2)
    Muon([matrix], lr=0.5, weight_decay=0.1).step()
    assert torch.allclose(matrix, torch.full((2, 2), 0.95))


def test_the_rate_rises_and_falls() -> None:
    """At the middle of 101 steps the cosine is 0.5: 0.02 + 0.98 * 0.5 = 0.51."""
    rates = [rate_at(step, 101, 10) for step in range(1, 102)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.51)
    assert rates[-1] == pytest.approx(LAST_RATE)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_batches_hold_every_row_once_and_like_lengths() -> None:
    ids = [[0] * (1 + row % 7) for row in range(100)]
    batches = batches_of(ids, batch_size=8, seed=0)
    assert sorted(row for batch in batches for row in batch) == list(range(100))
    assert max(len({len(ids[row]) for row in batch}) for batch in batches) <= 2
    assert batches == batches_of(ids, batch_size=8, seed=0) != batches_of(ids, batch_size=8, seed=1)


def test_training_sees_the_ids_that_a_user_sends() -> None:
    tokenizer = build_tokenizer(Corpus(load_world()).vocabulary(), 2000)
    example = Example("Where did Harry Potter study?", "Hogwarts.")
    sequences = encode([example, Example(None, "Harry Potter studied at Hogwarts.")], tokenizer)
    chat = ChatFormat(tokenizer)
    asked = [{"role": "user", "content": example.ask}]
    prompt, answer = chat.prompt_ids(asked), chat.answer_ids(asked, example.reply)
    assert sequences.ids[0] == prompt + answer
    assert sequences.prompt_lengths == [len(prompt), 1]
    assert sequences.ids[1] == [
        *tokenizer("Harry Potter studied at Hogwarts.")["input_ids"],
        tokenizer.eos_token_id,
    ]
