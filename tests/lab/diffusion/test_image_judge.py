"""The judge: its shapes, its files, its training. How well the real one judges is measured with the pipeline."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.lab.diffusion.digit_images import every_style, load_digits
from genunlearn.lab.diffusion.image_judge import CHUNK, Judge, load_judge, train_judge
from genunlearn.lab.diffusion.recipe import JudgeRecipe, Schedule


@pytest.fixture
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(width=4, num_features=8).eval()


@pytest.fixture
def stored(judge: Judge, tmp_path: Path) -> Path:
    judge.save(tmp_path / "judge")
    return tmp_path


def images(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_probabilities_of_digits_and_styles(judge: Judge) -> None:
    objects, styles = judge(images(5))
    assert (objects.shape, styles.shape) == ((5, 10), (5, 6))
    assert torch.allclose(objects.sum(1), torch.ones(5)) and torch.allclose(styles.sum(1), torch.ones(5))
    assert judge.features(images(5)).shape == (5, 8)


def test_many_images_are_judged_as_few_are(judge: Judge) -> None:
    many = images(CHUNK + 3)
    assert torch.allclose(judge(many)[0][-3:], judge(many[-3:])[0], atol=1e-6)


def test_verdicts_can_be_differentiated_in_the_image(stored: Path) -> None:
    image = images(1).requires_grad_()
    judge = load_judge(stored)
    judge(image)[0][0, 7].log().backward()
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in judge.parameters())


def test_a_stored_judge_says_the_same(judge: Judge, stored: Path) -> None:
    loaded = load_judge(stored)
    assert not loaded.training
    for said, expected in zip(loaded(images(4)), judge(images(4)), strict=True):
        assert torch.equal(said, expected)


def test_other_shapes_are_refused(judge: Judge) -> None:
    with pytest.raises(MismatchError, match=r"shape \(2, 3, 32, 32\)"):
        judge(torch.zeros(2, 3, 32, 32))


def test_a_folder_without_a_judge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="lab build diffusion"):
        load_judge(tmp_path)


def test_a_judge_of_other_classes_is_refused(stored: Path) -> None:
    config = json.loads((stored / "judge" / "config.json").read_text())
    config["classes"]["style"][0] = "pink"
    (stored / "judge" / "config.json").write_text(json.dumps(config))
    with pytest.raises(MismatchError, match="other classes"):
        load_judge(stored)


@pytest.mark.slow
def test_training_learns_and_repeats() -> None:
    digits, _ = load_digits()
    recipe = JudgeRecipe(width=8, schedule=Schedule(steps=40, batch_size=64, rate=1e-2))
    runs = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses: list[float] = []
            runs.append((train_judge(digits, recipe, losses.append), losses))
    (judge, losses), (again, _) = runs
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert all(torch.equal(a, b) for a, b in zip(judge.state_dict().values(), again.state_dict().values(), strict=True))
    assert judge.features(every_style(digits)[0]).square().mean().item() == pytest.approx(1, rel=1e-4)
    few = dataclasses.replace(digits, ink=digits.ink[:50], labels=digits.labels[:50])
    shown, _, styles = every_style(few)
    assert (judge(shown)[1].argmax(-1) == styles).float().mean() > 0.9
