"""Training the lab's text-to-image pipeline, part by part: autoencoder, text encoder, denoiser.

The text encoder learns first and by itself to tell what a prompt will look like, as CLIP's does, and is frozen then. A
denoiser that reads such prompts learns what to draw in half the steps that it needs beside an encoder that starts from
nothing, and the embeddings of all prompts are computed once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genunlearn.lab.diffusion.digit_images import Digits, draw, draw_each
from genunlearn.lab.diffusion.digit_prompts import OBJECTS, STYLES, training_prompt
from genunlearn.lab.diffusion.recipe import Schedule

Report = Callable[[float], None]
"""Called after every step with the loss."""


class Descent:
    """Optimiser, learning rate and clipping of some modules, which ask for gradients until `finish`."""

    def __init__(self, modules: Sequence[nn.Module], schedule: Schedule) -> None:
        for module in modules:
            module.train().requires_grad_(True)
        self.modules, self.max_norm = modules, schedule.max_norm
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, schedule.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.rates = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, schedule.rate, total_steps=schedule.steps, pct_start=schedule.warmup, cycle_momentum=False
        )

    def step(self, loss: Tensor) -> float:
        """One step down; returns the loss."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.rates.step()
        return loss.item()

    def finish(self) -> None:
        """Back to evaluation; the weights ask for no gradient."""
        for module in self.modules:
            module.eval().requires_grad_(False)


@dataclass(frozen=True)
class CaptionedBatch:
    """Images to learn from, by their place among all digits in all styles.

    Attributes:
        prompts: What each image is asked for by.
        styles: ``(batch,)``, index of its style.
        rows: ``(batch,)``, row of its digit.
    """

    prompts: list[str]
    styles: Tensor
    rows: Tensor


class CaptionedDigits:
    """Draws digits in styles, each pair alike often, with random prompts."""

    def __init__(self, digits: Digits, pairs: Sequence[tuple[str, str]], seed: int) -> None:
        """`pairs`: digit and style of what may be drawn."""
        labels = digits.labels.tolist()
        self._rows = {name: [row for row, label in enumerate(labels) if OBJECTS[label] == name] for name in OBJECTS}
        self._pairs, self._random = pairs, random.Random(seed)

    def batch(self, size: int) -> CaptionedBatch:
        """The next `size` images."""
        chosen = self._random.choices(self._pairs, k=size)
        return CaptionedBatch(
            prompts=[training_prompt(name, style, self._random) for name, style in chosen],
            styles=torch.tensor([STYLES.index(style) for _, style in chosen]),
            rows=torch.tensor([self._random.choice(self._rows[name]) for name, _ in chosen]),
        )


def train_autoencoder(vae: Any, digits: Digits, schedule: Schedule, kl_weight: float, report: Report) -> None:
    """Train the autoencoder in place on digits in random styles, and set the scale of its latents.

    The loss is ``mean (decoded - image)^2 + kl_weight * KL(posterior, N(0, 1))``, the latter a latent number.
    Afterwards ``vae.config.scaling_factor`` gives the latents of training images unit variance. Random numbers come
    from torch's present random state.
    """
    descent = Descent([vae], schedule)
    for _ in range(schedule.steps):
        rows = torch.randint(len(digits), (schedule.batch_size,))
        styles = torch.randint(len(STYLES), (schedule.batch_size,))
        images = 2 * draw_each(digits.ink[rows], styles) - 1
        posterior = vae.encode(images).latent_dist
        latents = posterior.sample()
        error = F.mse_loss(vae.decode(latents).sample, images)
        report(descent.step(error + kl_weight * posterior.kl().mean() / latents[0].numel()))
    descent.finish()
    vae.register_to_config(scaling_factor=float(1 / encode_styles(vae, digits).std()))


@torch.no_grad()
def encode_styles(vae: Any, digits: Digits) -> Tensor:
    """Unscaled latents of every digit in every style, ``(styles, digits, channels, height, width)``."""
    return torch.stack([vae.encode(2 * draw(digits.ink, style) - 1).latent_dist.mean for style in STYLES])


def train_text_encoder(
    prompts: PromptEncoder, captioned: CaptionedDigits, features: Tensor, schedule: Schedule, report: Report
) -> None:
    """Train the text encoder in place to predict, from a prompt, the features of an image of it.

    The loss is the squared error of a linear map of the embedding at the end token. The map is thrown away.

    Args:
        prompts: Tokenizer and text encoder.
        captioned: Images and prompts.
        features: ``(styles, digits, d)``, the judge's features of every digit in every style.
        schedule: How the weights are moved.
        report: Called after every step.
    """
    targets = (features - features.mean((0, 1))) / features.std((0, 1)).clamp_min(1e-3)
    head = nn.Linear(prompts.text_encoder.config.hidden_size, features.shape[-1])
    descent = Descent([prompts.text_encoder, head], schedule)
    for _ in range(schedule.steps):
        batch = captioned.batch(schedule.batch_size)
        predicted = head(prompts.text_encoder(prompts.ids(batch.prompts)).pooler_output)
        report(descent.step(F.mse_loss(predicted, targets[batch.styles, batch.rows])))
    descent.finish()


def train_denoiser(
    unet: Any,
    scheduler: Any,
    prompts: PromptEncoder,
    captioned: CaptionedDigits,
    latents: Tensor,
    schedule: Schedule,
    report: Report,
) -> None:
    """Train the denoiser in place to predict the noise in latents, given their prompts.

    The squared error is weighted by ``min(SNR, 5) / SNR`` (Hang et al., "Efficient Diffusion Training via Min-SNR
    Weighting Strategy", ICCV 2023). The times of a batch are spread evenly over the schedule, one random time in each
    of as many equal parts as there are images. Random numbers come from torch's present random state.

    Args:
        unet: The denoiser.
        scheduler: Its noise schedule.
        prompts: Tokenizer and frozen text encoder.
        captioned: Images and prompts.
        latents: ``(styles, digits, channels, height, width)``, scaled to unit variance.
        schedule: How the weights are moved.
        report: Called after every step.
    """
    abar = scheduler.alphas_cumprod
    descent = Descent([unet], schedule)
    for _ in range(schedule.steps):
        batch = captioned.batch(schedule.batch_size)
        clean = latents[batch.styles, batch.rows]
        noise = torch.randn_like(clean)
        times = ((torch.arange(len(clean)) + torch.rand(len(clean))) * len(abar) / len(clean)).long()
        predicted = unet(scheduler.add_noise(clean, noise, times), times, prompts.embed(batch.prompts)).sample
        error = (predicted - noise).square().mean(dim=(1, 2, 3))
        report(descent.step((error * min_snr_weight(abar[times])).mean()))
    descent.finish()


def min_snr_weight(abar: Tensor, most: float = 5.0) -> Tensor:
    """``min(SNR, most) / SNR`` for noise prediction, where ``SNR = abar / (1 - abar)``."""
    snr = abar / (1 - abar)
    return snr.clamp(max=most) / snr


class PromptEncoder:
    """Prompts as the pipeline embeds them: padded to the tokenizer's length; each is embedded once."""

    def __init__(self, tokenizer: Any, text_encoder: Any) -> None:
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self._known: dict[str, Tensor] = {}

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """Token ids ``(prompts, tokens)``."""
        return self.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")["input_ids"]

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings by the frozen text encoder, ``(prompts, tokens, width)``."""
        if unknown := [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]:
            self._known.update(zip(unknown, self.text_encoder(self.ids(unknown))[0], strict=True))
        return torch.stack([self._known[prompt] for prompt in prompts])
