"""UA, IRA, CRA and the distances on images whose content a plain judge reads off their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from genunlearn.errors import DataError
from genunlearn.evaluation.diffusion.image_distances import fid, kid
from genunlearn.evaluation.diffusion.metrics import ImageProbes
from genunlearn.records import Result
from genunlearn.registry import SUITES

OBJECTS, STYLES = ("cat", "dog", "horse"), ("sketch", "oil")


@dataclass(frozen=True)
class Concept:
    kind: str
    name: str

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}"


class PixelJudge:
    """Reads the object off the first pixel and the style off the second; features are the first four pixels."""

    classes: ClassVar = {"object": OBJECTS, "style": STYLES}
    num_looks = 0

    def __call__(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        self.num_looks += 1
        pixels = images[:, 0, 0, :2].round().long()
        return [torch.eye(len(names))[pixels[:, i]] for i, names in enumerate(self.classes.values())]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0]


DOG, SKETCH = Concept("object", "dog"), Concept("style", "sketch")

# asked object, asked style, seen object, seen style
IMAGES = [
    ("dog", "sketch", "cat", "sketch"),
    ("dog", "oil", "dog", "oil"),
    ("dog", None, "horse", "oil"),
    ("dog", "oil", "cat", "oil"),
    ("cat", "sketch", "cat", "sketch"),
    ("cat", "oil", "dog", "oil"),
    ("horse", "sketch", "horse", "oil"),
    ("horse", None, "horse", "oil"),
    (None, "oil", "dog", "oil"),
]


def probes(*erased: Concept, judge: PixelJudge | None = None, **fields) -> ImageProbes:
    images = torch.zeros(len(IMAGES), 3, 1, 4)
    images[:, 0, 0, 0] = torch.tensor([OBJECTS.index(row[2]) for row in IMAGES])
    images[:, 0, 0, 1] = torch.tensor([STYLES.index(row[3]) for row in IMAGES])
    asked = {"object": [row[0] for row in IMAGES], "style": [row[1] for row in IMAGES]}
    return ImageProbes(images=images, asked=asked, judge=judge or PixelJudge(), erased=erased, **fields)


def measure(looked: ImageProbes, suite: str = "images-quick") -> dict[tuple[str, str | None], Result]:
    results = SUITES.get(suite, "diffusion").measure(looked, "unlearned")
    return {(result.name, result.group): result for result in results}


def test_shares_for_an_erased_object() -> None:
    results = measure(probes(DOG))
    ua, ira, cra = (results[name, "object dog"] for name in ("ua", "ira", "cra"))
    assert (ua.value, ua.n) == (3 / 4, 4)  # of four dogs asked for, one is seen
    assert (ira.value, ira.n) == (3 / 4, 4)  # of cat, cat, horse, horse, one cat is a dog
    assert (cra.value, cra.n) == (3 / 4, 4)  # of the styles asked for without a dog, one sketch is an oil
    assert all(r.higher_is_better and r.target == "unlearned" and r.low < r.value < r.high for r in (ua, ira, cra))


def test_shares_for_an_erased_style_judge_objects_across() -> None:
    results = measure(probes(SKETCH))
    assert (results["ua", "style sketch"].value, results["ua", "style sketch"].n) == (1 / 3, 3)
    assert (results["ira", "style sketch"].value, results["ira", "style sketch"].n) == (1.0, 4)
    # dog, dog, dog, cat, horse without a sketch: dog, horse, cat, dog, horse are seen
    assert (results["cra", "style sketch"].value, results["cra", "style sketch"].n) == (2 / 5, 5)


def test_prompts_that_name_any_erased_concept_are_no_others() -> None:
    results = measure(probes(DOG, SKETCH))
    # without dogs and sketches: (cat, oil) seen as a dog, (horse, -) and (-, oil)
    assert (results["ira", "object dog"].value, results["ira", "object dog"].n) == (1 / 2, 2)
    assert (results["cra", "object dog"].value, results["cra", "object dog"].n) == (1.0, 2)
    assert (results["ua", "style sketch"].value, results["ua", "style sketch"].n) == (1 / 3, 3)


def test_the_intervals_are_exact() -> None:
    ua = measure(probes(DOG))["ua", "object dog"]
    # Clopper-Pearson, 3 of 4: P(X >= 3 | low) = P(X <= 3 | high) = 0.025.
    assert 4 * ua.low**3 * (1 - ua.low) + ua.low**4 == pytest.approx(0.025, abs=1e-6)
    assert 1 - ua.high**4 == pytest.approx(0.025, abs=1e-6)


def test_a_name_of_the_prompts_goes_into_the_group() -> None:
    assert ("ua", "object dog, held-out prompts") in measure(probes(DOG, prompts="held-out prompts"))


def test_a_share_of_nothing_is_skipped_with_its_reason() -> None:
    looked = probes(*(Concept("style", name) for name in STYLES))
    ira = measure(looked)["ira", "style oil"]
    assert ira.value is None and ira.n == 0
    assert "no prompt asks" in ira.skipped


def test_distances_are_taken_of_the_other_images_to_each_reference() -> None:
    looked = probes(DOG)
    others = looked.features[4:]
    real = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    results = measure(probes(DOG, references={"real": real, "original": others}), "images")
    assert results["fid", "real"].value == pytest.approx(fid(others, real)[0])
    assert results["kid", "real"].value == pytest.approx(kid(others, real)[0])
    assert results["fid", "original"].value == pytest.approx(0, abs=1e-6)
    assert results["fid", "real"].n == 5 and results["fid", "real"].higher_is_better is False
    assert results["kid", "real"].low < results["kid", "real"].value < results["kid", "real"].high


def test_the_judge_looks_once() -> None:
    judge = PixelJudge()
    looked = probes(DOG, judge=judge)
    measure(looked)
    measure(looked)
    assert judge.num_looks == 1


def test_a_kind_that_the_judge_does_not_tell_is_refused() -> None:
    with pytest.raises(DataError, match="tells no 'artist', only object, style"):
        probes(Concept("artist", "Vermeer"))


def test_prompts_and_images_must_be_as_many() -> None:
    images = torch.zeros(2, 3, 1, 4)
    with pytest.raises(DataError, match="2 images, 1 prompts"):
        ImageProbes(images=images, asked={"object": ["cat"]}, judge=PixelJudge(), erased=[DOG])
