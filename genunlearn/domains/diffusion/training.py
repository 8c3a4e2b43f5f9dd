"""What losses for denoisers share: the frozen model's answers, and what holds preserved concepts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genunlearn.contracts import Examples, Term, Terms
from genunlearn.domains.diffusion.prompts import PromptEmbedding
from genunlearn.domains.diffusion.trajectories import Points
from genunlearn.ops.denoising import Noised, squared_error


def held_points(retain: Examples | None, model: Any, reference: Any, weight: float) -> Terms:
    """The term that holds preserved concepts on trajectories: predictions stay what they were.

    Returns:
        ``preserve``, or nothing where there are no such examples or the weight is 0.
    """
    if retain is None or not weight:
        return {}
    points = Points.of(model, reference, retain)
    output = model.predict(points.noisy, points.timesteps, model.embedding(retain))
    return {"preserve": Term.of(squared_error(output, points.conditional), retain, "retain", weight)}


def held_images(retain: Examples | None, model: Any, reference: Any, weight: float) -> Terms:
    """The same on noised images, which takes an evaluation of the frozen model at every step."""
    if retain is None or not weight:
        return {}
    noised = noised_images(retain, model, reference)
    frozen = frozen_prediction(reference, retain, noised.latents, noised.timesteps)
    output = model.predict(noised.latents, noised.timesteps, model.embedding(retain))
    return {"preserve": Term.of(squared_error(output, frozen), retain, "retain", weight)}


def noised_images(examples: Examples, model: Any, reference: Any) -> Noised:
    """The examples' images, given or the frozen model's, with noise that is another one at every step."""
    is_given = "latents" in examples
    latents = examples["latents"] if is_given else reference.ask("clean_latents", examples)
    return model.noised(latents.to(model.device), examples.ids)


def frozen_prediction(
    reference: Any, examples: Examples, noisy: Tensor, timesteps: Tensor, prompt: str = "prompt"
) -> Tensor:
    """The frozen model's output at `noisy` for the examples' prompts called `prompt`."""
    tensors = {**examples.tensors, "noisy": noisy, "timesteps": timesteps, "prompt": examples[prompt]}
    return reference.ask("prediction", Examples(examples.ids, examples.weight, tensors))


@torch.no_grad()
def own_prediction(model: Any, noisy: Tensor, timesteps: Tensor, prompt: PromptEmbedding) -> Tensor:
    """The present model's output as a target, without gradient."""
    return model.predict(noisy, timesteps, prompt)
