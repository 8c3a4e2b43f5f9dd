"""Methods that change no weights: the rules by which images are made."""

import pytest
import torch
from diffusers import StableDiffusionPipelineSafe

from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import forget_prompts, parse_concepts
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import SafeGuidance
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.errors import DataError, NeedNotMet
from genunlearn.methods.diffusion.negative_prompt import NegativePrompt
from genunlearn.methods.diffusion.sld import SLD
from tests.tiny_pipelines import tiny

FEW = Sampling(steps=4, guidance=3.0)


def request(*concepts: str) -> Splits:
    return Splits(forget=forget_prompts(parse_concepts(concepts)))


def rule(**changes: float) -> SafeGuidance:
    settings = {"strength": 1000.0, "threshold": 0.01, "momentum": 0.3, "momentum_decay": 0.4, "warmup": 1}
    return SafeGuidance(concepts="cat", **{**settings, **changes})


def test_safe_guidance_by_hand() -> None:
    # eps(p) = 1, eps(0) = 0, eps(c) = 2: p - c = -1 < 0.01, weight min(1000, 1) = 1, g = 1 * (2 - 0) = 2;
    # nu = 0.6 * 2 = 1.2; at scale 3: 0 + 3 (1 - 2) = -3.
    # Next step: g = 2 + 0.3 * 1.2 = 2.36 and 3 (1 - 2.36) = -4.08.
    outputs, memory = torch.tensor([1.0, 0.0, 2.0]).view(3, 1, 1, 1, 1), {}
    assert rule(warmup=0).combine(outputs, 3.0, 0, memory).item() == pytest.approx(-3.0)
    assert memory["velocity"].item() == pytest.approx(1.2)
    assert rule(warmup=0).combine(outputs, 3.0, 1, memory).item() == pytest.approx(-4.08)


def test_momentum_gathers_before_safety_guidance_begins() -> None:
    outputs, memory = torch.tensor([1.0, 0.0, 2.0]).view(3, 1, 1, 1, 1), {}
    assert rule(warmup=1).combine(outputs, 3.0, 0, memory).item() == pytest.approx(3.0)
    assert rule(warmup=1).combine(outputs, 3.0, 1, memory).item() == pytest.approx(-4.08)


def test_nothing_is_steered_where_the_prompt_is_far_from_the_concept() -> None:
    # p - c = 1 >= 0.01: plain guidance, 0 + 3 * 1
    outputs = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1, 1, 1)
    assert rule(warmup=0).combine(outputs, 3.0, 0, {}).item() == pytest.approx(3.0)


def test_safe_guidance_is_that_of_diffusers() -> None:
    pipeline = StableDiffusionPipelineSafe.__new__(StableDiffusionPipelineSafe)
    memory: dict[str, torch.Tensor] = {}
    velocity = None
    ours = rule(strength=5.0, threshold=0.3)
    for step in range(4):
        outputs = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(step))
        prompt, empty, concept = outputs
        guided, velocity = pipeline.perform_safety_guidance(
            enable_safety_guidance=True,
            safety_momentum=velocity,
            noise_guidance=prompt - empty,
            noise_pred_out=(prompt, empty, concept),
            i=step,
            sld_guidance_scale=5.0,
            sld_warmup_steps=1,
            sld_threshold=0.3,
            sld_momentum_scale=0.3,
            sld_mom_beta=0.4,
        )
        torch.testing.assert_close(ours.combine(outputs, 3.0, step, memory), empty + 3 * guided)


def test_images_are_steered_at_three_evaluations_a_step() -> None:
    adapter, plain = Diffusion(tiny("sd1")), Diffusion(tiny("sd1"))
    report = SLD(warmup=0).apply(adapter, request("digit seven", "cat"))
    images = adapter.images(["a cat"], [1], FEW)
    assert adapter.meter.frozen == 3 * 4
    assert not torch.allclose(images, plain.images(["a cat"], [1], FEW), atol=1e-3)
    assert report.changed == ()
    assert report.details["concepts"] == "digit seven, cat"


def test_a_warmup_as_long_as_the_trajectory_is_plain_guidance() -> None:
    adapter, plain = Diffusion(tiny("sd1")), Diffusion(tiny("sd1"))
    SLD(warmup=4).apply(adapter, request("cat"))
    expected = plain.images(["a cat"], [1], FEW)
    torch.testing.assert_close(adapter.images(["a cat"], [1], FEW), expected, atol=1e-5, rtol=0)


def test_the_negative_prompt_is_that_of_the_pipeline() -> None:
    adapter = Diffusion(tiny("sd1"))
    NegativePrompt().apply(adapter, request("digit seven", "cat"))
    expected = adapter.pipeline(
        "a cat",
        negative_prompt="digit seven, cat",
        num_inference_steps=4,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(1),
        output_type="pt",
    ).images
    torch.testing.assert_close(adapter.images(["a cat"], [1], FEW), expected, atol=1e-5, rtol=0)


def test_rules_leave_nothing_to_export(tmp_path) -> None:
    for method in (SLD(), NegativePrompt()):
        adapter = Diffusion(tiny("sd1"))
        method.apply(adapter, request("cat"))
        for kind in ("lora", "delta"):
            with pytest.raises(NeedNotMet):
                adapter.export(tmp_path, kind)
        with pytest.raises(DataError, match="nothing to forget"):
            method.apply(adapter, Splits(forget=[]))
