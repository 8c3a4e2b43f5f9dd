"""A classifier that tells whose image it is: the original's or the unlearned model's.

Its features are the space of CRS, its probabilities those of CCS. A network of ResNet18's blocks, sized for the
images, is trained from scratch; ``backbone`` names a pretrained one, as the published protocol has it.

    L = cross-entropy + max(0, |a - p| - min_k |a - n_k| + 1)      on the last features, n_1 .. n_3 drawn at random

Source: Sharma et al. (arXiv 2409.05668), section 4 and its code: 80/20 split, batches of 32, 10 epochs, SGD with
momentum 0.9, ImageNet weights and a rate of 1e-3. Deviations: triplets are drawn within a batch; images of one seed
fall on the same side of the split, since of two models that hardly differ each is the other's image with another label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass as record
from functools import cached_property
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import STRICT
from genunlearn.domains.pretrained import read_model
from genunlearn.domains.sources import resolve_folder
from genunlearn.errors import DataError, SourceNotFound
from genunlearn.ops.concealment import triplet_loss
from genunlearn.ops.intervals import share
from genunlearn.ops.membership import auc

LARGEST = 256
"""Images are made no larger than this for the classifier, and exactly so large for a pretrained backbone."""

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Colours that pretrained backbones expect."""

SMALL = 64
"""Up to this size the first convolution keeps the size of the image."""

LEAST_STEPS = 100
"""Steps that a network from scratch takes at least."""

LEAST = 10
"""Images of each model without which there is nothing to split."""

CHUNK = 256
Estimate = tuple[float, float, float]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FitConfig:
    """How the classifier is made."""

    backbone: Annotated[str | None, Field(description="folder or hub id of an image model; null = from scratch")] = None
    epochs: Annotated[
        int | None, Field(ge=1, description="passes over the training part; null = 10, more from scratch")
    ] = None
    batch_size: Annotated[int, Field(ge=4, description="images a step")] = 32
    learning_rate: Annotated[
        float | None, Field(gt=0, description="of SGD; null = 1e-3 pretrained, 0.02 otherwise")
    ] = None
    momentum: Annotated[float, Field(ge=0, lt=1, description="of SGD")] = 0.9
    margin: Annotated[float, Field(ge=0, description="of the triplet loss")] = 1.0
    split: Annotated[float, Field(gt=0, lt=1, description="share of the images that is trained on")] = 0.8
    width: Annotated[int, Field(ge=4, description="channels of the first blocks, from scratch")] = 16
    seed: Annotated[int, Field(ge=0, description="of weights, split and order")] = 0
    device: Annotated[str, Field(description="auto, cpu, cuda or another torch device")] = "auto"


class ResidualNet(nn.Module):
    """ResNet18's layout for images of any size: stages of two basic blocks, each half as large and twice as wide.

    Images above `SMALL` pixels go through ResNet's first convolution and pooling, smaller ones keep their size.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        small = size <= SMALL
        stem: list[nn.Module] = [*_convolution(3, width, 3 if small else 7, 1 if small else 2), nn.ReLU()]
        if not small:
            stem.append(nn.MaxPool2d(3, 2, 1))
            size //= 4
        stages = min(4, max(1, int(math.log2(max(size, 4) / 4)) + 1))
        blocks = [Block(width, width, 1), Block(width, width, 1)]
        for _ in range(1, stages):
            blocks += [Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1)]
            width *= 2
        self.body = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.num_features = width

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(n, num_features)``, none below 0."""
        return self.body(images)


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, source: int, target: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(source, target, 3, stride), nn.ReLU(), *_convolution(target, target, 3, 1)
        )
        self.shortcut = (
            nn.Identity()
            if (source, stride) == (target, 1)
            else nn.Sequential(*_convolution(source, target, 1, stride))
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output."""
        return F.relu(self.body(inputs) + self.shortcut(inputs))


class Pretrained(nn.Module):
    """The pooled output of an image model of transformers."""

    def __init__(self, source: str) -> None:
        from transformers import AutoModel

        super().__init__()
        try:
            self.body: Any = read_model(AutoModel, resolve_folder(source), "an image model")
            with torch.no_grad():
                self.num_features = self(torch.zeros(1, 3, LARGEST, LARGEST)).shape[1]
        except Exception as error:  # transformers has opened it, and it may still take no images or pool nothing
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise SourceNotFound(f"backbone = {source!r}: {reason}; give a folder or a hub id, or null") from error

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(n, num_features)``."""
        return self.body(pixel_values=images).pooler_output.flatten(1)


@record(frozen=True, kw_only=True)
class TwoModelClassifier:
    """A trained classifier of original against unlearned.

    Attributes:
        network: Gives features; it may be on another device than the images.
        head: Gives two logits from features, the original's second.
        mean: Mean colour that the network expects, ``(3, 1, 1)``: of the training images, or of ImageNet.
        deviation: Its standard deviation.
        size: Side to which images are brought; None for their own, up to `LARGEST`.
        held_out: Images that it was not trained on, ``(n, 3, height, width)``.
        truth: Which of them are the original's, ``(n,)`` bool.
    """

    network: nn.Module
    head: nn.Linear
    mean: Tensor
    deviation: Tensor
    size: int | None
    held_out: Tensor
    truth: Tensor

    @cached_property
    def accuracy(self) -> Estimate:
        """Share of held-out images that it tells right, with its exact interval."""
        return share(int(((self.probability(self.held_out) > 0.5) == self.truth).sum()), len(self.truth))

    @cached_property
    def area(self) -> Estimate:
        """Area under the ROC curve on held-out images, with its interval; 0.5 is chance."""
        odds = self.probability(self.held_out)
        return auc(odds[self.truth], odds[~self.truth])

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """L2-normalised features ``(n, d)`` of images ``(n, 3, height, width)`` in [0, 1]."""
        return F.normalize(self._features(images), dim=1).cpu()

    @torch.no_grad()
    def probability(self, images: Tensor) -> Tensor:
        """The probability that each image is the original's, ``(n,)``."""
        return self.head(self._features(images)).softmax(1)[:, 1].cpu()

    def _features(self, images: Tensor) -> Tensor:
        scaled = ((part - self.mean) / self.deviation for part in _sized(images, self.size).split(CHUNK))
        return torch.cat([self.network(part.to(self.head.weight.device)) for part in scaled])


def fit_two_model_classifier(original: Tensor, unlearned: Tensor, training: FitConfig) -> TwoModelClassifier:
    """Train on a part of the images of both models and test on the rest.

    Args:
        original: ``(n, 3, height, width)`` in [0, 1].
        unlearned: ``(m, 3, height, width)``; its first images have the seeds of the original's.
        training: How; torch's random state is left as it was.

    Raises:
        DataError: There are too few images for the split, or images that are none.
        SourceNotFound: The backbone is not there.
    """
    check_pools(original, unlearned)
    pretrained = training.backbone is not None
    size = LARGEST if pretrained else None
    images = _sized(torch.cat([unlearned.cpu(), original.cpu()]), size)
    labels = torch.cat([torch.zeros(len(unlearned)), torch.ones(len(original))]).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        trained, tested = _split(labels, training.split)
        mean, deviation = _colours(images[trained], pretrained)
        network: Any = (
            Pretrained(training.backbone) if training.backbone else ResidualNet(images.shape[-1], training.width)
        )
        head = nn.Linear(network.num_features, 2)
        device = _device(training.device)
        network, head = network.to(device), head.to(device)
        rate = training.learning_rate or (1e-3 if pretrained else 0.02)
        _fit(network, head, (images[trained] - mean) / deviation, labels[trained], training, rate)
    return TwoModelClassifier(
        network=network.eval(),
        head=head,
        mean=mean,
        deviation=deviation,
        size=size,
        held_out=images[tested],
        truth=labels[tested].bool(),
    )


def check_pools(original: Tensor, unlearned: Tensor, least: int = LEAST) -> None:
    """Refuse images from which no classifier can be made.

    Raises:
        DataError: Too few for the split, of different shape, not finite, or without variance.
    """
    if min(len(original), len(unlearned)) < least:
        raise DataError(
            f"{len(original)} images of the original and {len(unlearned)} of the unlearned model are too few to train "
            f"and test a classifier: make at least {least} of each"
        )
    if original.shape[1:] != unlearned.shape[1:]:
        shapes = f"{tuple(original.shape[1:])} and {tuple(unlearned.shape[1:])}"
        raise DataError(f"images of shape {shapes} cannot be compared: make them of one size")
    for name, images in (("original", original), ("unlearned model", unlearned)):
        if not images.isfinite().all():
            raise DataError(f"images of the {name} are not finite: check its weights")
        if float(images.flatten(1).std(1).max()) < 1e-6:
            raise DataError(f"the images of the {name} have no variance, each is one flat colour: check its weights")
        if len(images) > 1 and float(images.std(0).max()) < 1e-6:
            raise DataError(f"the images of the {name} are all the same: give them different seeds")


def _fit(network: nn.Module, head: nn.Module, images: Tensor, labels: Tensor, training: FitConfig, rate: float) -> None:
    weights = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(weights, lr=rate, momentum=training.momentum)
    generator, device = torch.Generator().manual_seed(training.seed), weights[0].device
    images, labels = images.to(device), labels.to(device)
    network.train()
    steps = LEAST_STEPS if training.backbone is None else 0
    epochs = training.epochs or max(10, math.ceil(steps / math.ceil(len(images) / training.batch_size)))
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for rows in order.split(training.batch_size):
            if len(rows) < 2:  # batch normalisation learns nothing from one image
                continue
            features = network(images[rows])
            loss = F.cross_entropy(head(features), labels[rows])
            loss = loss + triplet_loss(features, labels[rows], training.margin, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _split(labels: Tensor, split: float) -> tuple[Tensor, Tensor]:
    """Rows for training and for testing, each with both classes in proportion and with both images of a seed."""
    classes = [(labels == label).nonzero().flatten() for label in (0, 1)]
    order = torch.randperm(min(map(len, classes)))
    tested = order[min(max(2, round(split * len(order))), len(order) - 2) :]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for rows in classes:
        held_out[rows[tested]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def _colours(images: Tensor, pretrained: bool) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, ``(3, 1, 1)``."""
    if pretrained:
        mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_DEVIATION)
    else:
        mean, deviation = images.mean((0, 2, 3)), images.std((0, 2, 3)).clamp_min(1e-6)
    return mean.view(3, 1, 1), deviation.view(3, 1, 1)


def _sized(images: Tensor, size: int | None) -> Tensor:
    """Images of `size` pixels a side, or of at most `LARGEST`."""
    images = images.float().cpu()
    side = size or min(LARGEST, max(images.shape[-2:]))
    if images.shape[-2:] == (side, side) or (size is None and max(images.shape[-2:]) <= LARGEST):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)


def _convolution(source: int, target: int, size: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(source, target, size, stride, size // 2, bias=False), nn.BatchNorm2d(target)]
