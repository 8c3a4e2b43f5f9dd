"""CRS, CCS and their controls on images whose model shows in their colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import ResNetConfig, ResNetModel

from genunlearn.errors import DataError, SourceNotFound
from genunlearn.evaluation.diffusion.concealment import CONCEALMENT, CRS, ConcealmentProbes, NormalisedLeak
from genunlearn.evaluation.diffusion.detectors import JudgeDetector, LikenessDetector
from genunlearn.evaluation.diffusion.two_model_classifier import FitConfig, ResidualNet, fit_two_model_classifier
from genunlearn.records import Result

QUICK = FitConfig(epochs=12, width=4)
PSIS = (0.0, 0.25, 0.5)


def images(count: int, red: float, seed: int) -> torch.Tensor:
    """Noise images ``(count, 3, 16, 16)``, more or less red."""
    noise = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    noise[:, 0] = (0.5 * noise[:, 0] + red).clamp(0, 1)
    return noise


def redness(pictures: torch.Tensor) -> torch.Tensor:
    return pictures[:, 0].flatten(1).mean(1)


def completed(*reds: float, seeds: int = 8, seed: int = 50) -> torch.Tensor:
    return torch.stack([images(seeds, red, seed + row) for row, red in enumerate(reds)])


def probes(**fields: Any) -> ConcealmentProbes:
    """The original draws red, the unlearned model does not, and its completions turn red with psi."""
    given: dict[str, Any] = {
        "label": "red",
        "psis": PSIS,
        "completed": {
            "unlearned": completed(0, 0.25, 0.5),
            "original": completed(0.5, 0.5, 0.5, seed=60),
            "oracle": completed(0, 0, 0.25, seed=70),
        },
        "original": images(40, 0.5, 0),
        "unlearned": images(40, 0.0, 1),
        "score": redness,
        "training": QUICK,
    }
    return ConcealmentProbes(**{**given, **fields})


@pytest.fixture(scope="module")
def looked() -> ConcealmentProbes:
    return probes()


def measure(looked: ConcealmentProbes) -> dict[tuple[str, str, str | None], Result]:
    found = [
        result
        for metric in CONCEALMENT.metrics
        for target in ("unlearned", "original", "oracle")
        for result in metric().measure(looked, target)
    ]
    return {(result.name, result.target, result.group): result for result in found}


def test_scores_say_who_is_nearer_to_the_original(looked: ConcealmentProbes) -> None:
    results = measure(looked)
    signed = [results["crs_signed", "unlearned", f"red, psi = {psi:g}"].value for psi in PSIS]
    assert signed[0] < -0.1 < 0.1 < signed[2] and signed == sorted(signed)
    odds = [results["ccs_controlled", "unlearned", f"red, psi = {psi:g}"].value for psi in PSIS]
    assert odds[0] < 0.3 and odds[2] > 0.7
    assert results["ccs_controlled", "original", "red"].value > results["ccs_controlled", "oracle", "red"].value
    assert results["crs_signed", "unlearned", "red"].n == 8
    auc = results["domain_auc", "unlearned", "red"]
    assert auc.value > 0.9 and auc.n == 8 and auc.low > 0.5, "a fifth of the half of 40 + 40"
    assert results["domain_accuracy", "unlearned", "red"].value > 0.8


def test_published_scores_are_those_of_the_formulas(looked: ConcealmentProbes) -> None:
    results = measure(looked)
    margins = looked.margins("unlearned", controlled=False)
    assert results["crs", "unlearned", "red"].value == pytest.approx(float(margins.mean(1).abs().mean()))
    odds = looked.published.probability(looked.completed["unlearned"].flatten(0, 1))
    assert results["ccs", "unlearned", "red"].value == pytest.approx(float(odds.mean()))
    kept = probes(role="retain")
    (crs,) = CRS().measure(kept, "unlearned")
    assert crs.value == pytest.approx(1 - results["crs", "unlearned", "red"].value)


def test_the_leak_beside_the_oracle(looked: ConcealmentProbes) -> None:
    results = measure(looked)
    # mean redness is 0.25 + red where nothing is cut off: about 0, 0.25 and 0.5 of unlearned, 0, 0, 0.25 of oracle
    points = [results["normalised_leak", "unlearned", f"red, psi = {psi:g}"].value for psi in PSIS]
    assert points == [pytest.approx(0, abs=0.05), pytest.approx(0.5, abs=0.05), pytest.approx(1, abs=0.05)]
    assert results["normalised_leak", "unlearned", "red"].value == pytest.approx(0.5, abs=0.05)
    assert ("normalised_leak", "oracle", "red") not in results


def test_without_an_oracle_there_is_no_leak(looked: ConcealmentProbes) -> None:
    lonely = probes(completed={"unlearned": looked.completed["unlearned"]})
    (result,) = NormalisedLeak().measure(lonely, "unlearned")
    assert result.value is None and "needs completions of the original" in (result.skipped or "")


def test_models_that_draw_alike_cannot_be_told_apart() -> None:
    same = probes(
        original=images(60, 0.2, 3), unlearned=images(60, 0.2, 4), completed={"unlearned": completed(0.2, 0.2, 0.2)}
    )
    results = measure(same)
    low, high = (getattr(results["domain_auc", "unlearned", "red"], end) for end in ("low", "high"))
    assert low <= 0.5 <= high
    assert abs(results["crs_signed", "unlearned", "red"].value) < 0.05
    assert results["crs", "unlearned", "red"].value < 0.05


def test_twins_of_one_seed_are_told_apart_by_nobody() -> None:
    # The same images on both sides, but for the last bit: with a twin of each test image among the training images,
    # under the other label, whoever has learnt these by heart says the opposite of the truth (AUC 0.03).
    twins = images(60, 0.2, 3)
    both = probes(original=twins, unlearned=twins + 1e-7, completed={"unlearned": completed(0.2, 0.2, 0.2)})
    value, low, high = both.controlled.area
    assert low <= 0.5 <= high and abs(value - 0.5) < 0.1
    tested = both.controlled.held_out
    assert torch.allclose(tested[both.controlled.truth], tested[~both.controlled.truth], atol=1e-6)


def test_training_is_a_function_of_its_seed_and_leaves_the_random_state() -> None:
    pools = images(12, 0.5, 0), images(12, 0, 1)
    state = torch.random.get_rng_state()
    one, two = (fit_two_model_classifier(*pools, FitConfig(epochs=1, width=4)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one.features(pools[0]), two.features(pools[0]))
    assert one.features(pools[0]).norm(dim=1).tolist() == pytest.approx([1] * 12, abs=1e-4)


@pytest.mark.parametrize("size", [8, 16, 32, 96])
def test_the_network_fits_images_of_any_size(size: int) -> None:
    network = ResidualNet(size, 4)
    features = network(torch.rand(2, 3, size, size))
    assert features.shape == (2, network.num_features) and features.min() >= 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"original": images(19, 0.5, 0)},
            "19 images of the original and 40 of the unlearned model are too few .* least 20",
        ),
        ({"unlearned": torch.full((40, 3, 16, 16), 0.5)}, "unlearned model have no variance"),
        ({"unlearned": images(1, 0.5, 0).repeat(40, 1, 1, 1)}, "unlearned model are all the same"),
        ({"original": images(40, 0.5, 0) * torch.nan}, "images of the original are not finite"),
        ({"original": torch.rand(40, 3, 8, 8)}, "cannot be compared: make them of one size"),
        ({"psis": (0.1,)}, r"completions of shape \(3, 8, 3, 16, 16\) for 1 psi"),
    ],
)
def test_images_that_cannot_be_used(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        probes(**fields)


def test_a_pretrained_backbone_sees_images_as_it_knows_them(tmp_path: Path) -> None:
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(tmp_path)
    training = FitConfig(backbone=str(tmp_path), epochs=1, batch_size=8)
    classifier = fit_two_model_classifier(images(10, 0.5, 0), images(10, 0, 1), training)
    assert classifier.held_out.shape == (4, 3, 256, 256) and classifier.mean.flatten().tolist()[0] == pytest.approx(
        0.485
    )
    assert classifier.features(images(2, 0.5, 2)).shape == (2, 8)


def test_a_backbone_that_is_not_there() -> None:
    with pytest.raises(SourceNotFound, match="backbone = 'nowhere/at-all'"):
        fit_two_model_classifier(images(12, 0.5, 0), images(12, 0, 1), FitConfig(backbone="nowhere/at-all"))


class Colours:
    """Tells the colour of an image by its channels."""

    classes: ClassVar = {"size": ("small",), "colour": ("red", "green", "blue")}

    def __call__(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        return [torch.ones(len(pictures), 1), pictures.mean((2, 3)).softmax(1)]

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1)


class Named:
    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name, self.label = kind, name, f"{kind} {name}"


def test_a_judge_as_detector() -> None:
    pictures = torch.zeros(2, 3, 4, 4)
    pictures[0, 1], pictures[1, 2] = 1, 1
    detector = JudgeDetector(Colours(), Named("colour", "green"))
    assert detector.shown(pictures).tolist() == [True, False]
    e = torch.e
    assert detector.score(pictures).tolist() == pytest.approx([e / (e + 2), 1 / (e + 2)])
    for kind, name in (("colour", "pink"), ("shape", "round")):
        with pytest.raises(DataError, match=f"does not know '{kind} {name}': it tells small, red, green, blue"):
            JudgeDetector(Colours(), Named(kind, name))


def test_likeness_is_learnt_from_images_alone() -> None:
    detector = LikenessDetector(lambda pictures: pictures.flatten(2).mean(2), images(30, 0.5, 0), images(20, 0.0, 1))
    assert detector.shown(images(10, 0.5, 2)).all() and not detector.shown(images(10, 0.0, 3)).any()
    assert detector.score(images(10, 0.5, 2)).min() > 0.5 >= detector.score(images(10, 0.0, 3)).max()
