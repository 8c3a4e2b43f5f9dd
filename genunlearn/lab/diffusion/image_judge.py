"""The judge of the lab's images: a small network that tells digit and style, trained on real images alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.lab.diffusion.digit_images import Digits, draw_each, every_style
from genunlearn.lab.diffusion.digit_prompts import OBJECT, OBJECTS, STYLE, STYLES
from genunlearn.lab.diffusion.recipe import IMAGE_SIZE, JudgeRecipe
from genunlearn.lab.diffusion.training import Descent, Report
from genunlearn.records import write_json

FOLDER = "judge"
CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
CHUNK = 512
"""Images that go through the network together."""


class Judge(nn.Module):
    """Tells digit and style of images ``(n, 3, 16, 16)`` in [0, 1]."""

    feature_scale: Tensor
    classes: ClassVar[Mapping[str, tuple[str, ...]]] = {OBJECT: OBJECTS, STYLE: STYLES}

    def __init__(self, width: int, num_features: int) -> None:
        super().__init__()
        self.config = {"width": width, "num_features": num_features}
        self.body = nn.Sequential(
            *_layer(3, width), *_layer(width, width), nn.MaxPool2d(2),
            *_layer(width, 2 * width), *_layer(2 * width, 2 * width), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(2 * width * (IMAGE_SIZE // 4) ** 2, num_features), nn.ReLU(),
        )  # fmt: skip
        self.register_buffer("feature_scale", torch.ones(()))
        self.heads = nn.ModuleDict({kind: nn.Linear(num_features, len(names)) for kind, names in self.classes.items()})

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of the digits ``(n, 10)`` and of the styles ``(n, 6)``, differentiable in the images."""
        objects, styles = self.logits(images)
        return objects.softmax(-1), styles.softmax(-1)

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` normalises.

        Raises:
            MismatchError: The images have another shape.
        """
        features = torch.cat([self._embed(part) for part in images.split(CHUNK)])
        return self.heads[OBJECT](features), self.heads[STYLE](features)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer at unit mean square on real images, ``(n, num_features)``: the space of FID and KID."""
        return self.feature_scale * torch.cat([self._embed(part) for part in images.split(CHUNK)])

    def _embed(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise MismatchError(
                f"images have shape {tuple(images.shape)}; the lab's judge takes (n, 3, {IMAGE_SIZE}, {IMAGE_SIZE})"
            )
        return self.body(2 * images - 1)

    def save(self, folder: Path) -> None:
        """Write configuration and weights into `folder`."""
        from safetensors.torch import save_file

        write_json(folder / CONFIG_NAME, {**self.config, "classes": self.classes})
        save_file(self.state_dict(), folder / WEIGHTS_NAME)


def load_judge(folder: Path | str) -> Judge:
    """The judge of a lab folder, in evaluation mode and without gradients of its weights.

    Raises:
        SourceNotFound: There is no judge.
        MismatchError: It tells other classes than this version.
    """
    from safetensors.torch import load_file

    place = Path(folder) / FOLDER
    if not (place / WEIGHTS_NAME).is_file():
        raise SourceNotFound(f"no judge in {folder}: give a folder that `genunlearn lab build diffusion` has written")
    config = json.loads((place / CONFIG_NAME).read_text(encoding="utf-8"))
    if {kind: tuple(names) for kind, names in config.pop("classes").items()} != Judge.classes:
        raise MismatchError(f"the judge in {folder} tells other classes than this version: build the lab's model anew")
    judge = Judge(**config)
    judge.load_state_dict(load_file(place / WEIGHTS_NAME))
    return judge.eval().requires_grad_(False)


def train_judge(digits: Digits, recipe: JudgeRecipe, report: Report) -> Judge:
    """A judge trained on real digits in random styles, shifted by up to a pixel.

    Weights, batches and noise come from torch's present random state.
    """
    judge = Judge(recipe.width, recipe.num_features)
    descent = Descent([judge], recipe.schedule)
    for _ in range(recipe.schedule.steps):
        rows = torch.randint(len(digits), (recipe.schedule.batch_size,))
        styles = torch.randint(len(STYLES), (recipe.schedule.batch_size,))
        images = draw_each(_shifted(digits.ink[rows]), styles)
        objects_seen, styles_seen = judge.logits(images + recipe.noise * torch.randn_like(images))
        report(descent.step(F.cross_entropy(objects_seen, digits.labels[rows]) + F.cross_entropy(styles_seen, styles)))
    descent.finish()
    judge.feature_scale /= judge.features(every_style(digits)[0]).square().mean().sqrt()
    return judge


def _layer(num_in: int, num_out: int) -> list[nn.Module]:
    return [nn.Conv2d(num_in, num_out, 3, padding=1, bias=False), nn.BatchNorm2d(num_out), nn.ReLU()]


def _shifted(ink: Tensor) -> Tensor:
    """Each digit moved by up to one pixel in either direction; what leaves the image is lost."""
    padded = F.pad(ink, (1, 1, 1, 1))
    height, width = ink.shape[2:]
    moved = torch.empty_like(ink)
    shifts = torch.randint(3, (len(ink), 2))
    for down in range(3):
        for right in range(3):
            rows = (shifts == torch.tensor([down, right])).all(dim=1)
            moved[rows] = padded[rows, :, down : down + height, right : right + width]
    return moved
