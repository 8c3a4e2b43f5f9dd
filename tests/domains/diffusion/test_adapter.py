"""The adapter against the pipelines themselves, family by family."""

from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler

from genunlearn.data.diffusion.concepts import ConceptImage, ConceptPrompt, TrajectoryPoint
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import ClassifierFree, Sampling
from genunlearn.errors import DataError, MismatchError, NeedNotMet
from tests.tiny_pipelines import FAMILIES, MAX_TOKENS, tiny

PROMPTS, SEEDS = ["a digit seven", "a red cat"], [5, 6]
FEW = Sampling(steps=4, guidance=3.0)


def model(family: str = "sd1", **options: Any) -> Diffusion:
    return Diffusion(tiny(family), text_length=MAX_TOKENS, **options)


def plain_images(pipeline: Any, family: str, **options: Any) -> torch.Tensor:
    """What the pipeline itself makes of `PROMPTS`, ``(images, 3, height, width)``."""
    settings: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 3.0}
    if family in ("sd3", "flux"):
        settings["max_sequence_length"] = MAX_TOKENS
    if family == "flux":
        settings |= {"height": 16, "width": 16, "negative_prompt": [""] * 2, "true_cfg_scale": 3.0}
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    images = pipeline(PROMPTS, generator=generators, output_type="np", **{**settings, **options}).images
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_those_of_the_pipeline(family: str) -> None:
    adapter = model(family)
    expected = plain_images(adapter.pipeline, family)
    torch.testing.assert_close(adapter.images(PROMPTS, SEEDS, FEW), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.05, "a constant image would prove nothing"


def test_flux_dev_takes_the_scale_as_an_input() -> None:
    adapter = model("flux_dev")
    expected = plain_images(adapter.pipeline, "flux", true_cfg_scale=1.0)
    torch.testing.assert_close(adapter.images(PROMPTS, SEEDS, FEW), expected, atol=1e-5, rtol=0)
    assert adapter.meter.frozen == 2 * 4, "one evaluation an image and step"
    with_rule = adapter.images(PROMPTS, SEEDS, Sampling(steps=4, guidance=3.0, rule=ClassifierFree()))
    assert not torch.allclose(with_rule, expected, atol=1e-3)


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, PNDMScheduler, DPMSolverMultistepScheduler])
def test_any_scheduler(kind: Any) -> None:
    pipeline = tiny("sd1")
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    expected = plain_images(pipeline, "sd1")
    torch.testing.assert_close(Diffusion(pipeline).images(PROMPTS, SEEDS, FEW), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_an_image_does_not_depend_on_its_batch(family: str, eta: float) -> None:
    adapter = model(family)
    together = adapter.sample(PROMPTS, SEEDS, Sampling(steps=3, guidance=2.0, eta=eta))
    alone = adapter.sample(PROMPTS[1:], SEEDS[1:], Sampling(steps=3, guidance=2.0, eta=eta))
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)
    cut = adapter.sample(PROMPTS, SEEDS, Sampling(steps=3, guidance=2.0, eta=eta, batch_size=1))
    torch.testing.assert_close(together, cut, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("family", "eta"), [*((family, 0.0) for family in FAMILIES), ("sd1", 1.0)])
def test_a_trajectory_can_be_handed_on(family: str, eta: float) -> None:
    adapter, sampling = model(family), Sampling(steps=5, guidance=2.0, eta=eta, scheduler="ddim")
    whole = adapter.sample(PROMPTS, SEEDS, sampling)
    first = adapter.sample(PROMPTS, SEEDS, sampling, part=slice(0, 2))
    rest = adapter.sample(PROMPTS, SEEDS, sampling, part=slice(2, None), latents=first)
    torch.testing.assert_close(rest, whole)
    nothing = adapter.sample(PROMPTS, SEEDS, sampling, part=slice(5, None), latents=whole)
    torch.testing.assert_close(nothing, whole)


def test_a_scheduler_with_a_memory_cannot_start_in_the_middle() -> None:
    pipeline = tiny("sd1")
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config)
    adapter = Diffusion(pipeline)
    latents = adapter.sample(PROMPTS, SEEDS, FEW, part=slice(0, 2))
    with pytest.raises(NeedNotMet, match=r"PNDMScheduler cannot start at step 2.*scheduler = 'ddim'"):
        adapter.sample(PROMPTS, SEEDS, FEW, part=slice(2, None), latents=latents)


def test_a_negative_prompt_takes_the_place_of_the_empty_one() -> None:
    adapter = model()
    expected = plain_images(adapter.pipeline, "sd1", negative_prompt=["a blue dog"] * 2)
    rule = ClassifierFree("a blue dog")
    ours = adapter.images(PROMPTS, SEEDS, Sampling(steps=4, guidance=3.0, rule=rule))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_guidance_of_one_evaluates_the_prompt_alone() -> None:
    adapter = model()
    adapter.sample(PROMPTS, SEEDS, Sampling(steps=4, guidance=1.0))
    assert adapter.meter.frozen == 2 * 4


@pytest.mark.parametrize("prompts", [[], PROMPTS[:1]])
def test_prompts_and_seeds_come_in_pairs(prompts: list[str]) -> None:
    with pytest.raises(DataError, match="every image has one of each"):
        model().sample(prompts, [] if not prompts else SEEDS)


def test_observers_see_every_step() -> None:
    seen: list[tuple] = []
    adapter = model()
    adapter.sample(PROMPTS, SEEDS, FEW, observe=lambda i, t, x, out: seen.append((i, float(t), x.shape, out.shape)))
    assert [row[0] for row in seen] == [0, 1, 2, 3]
    assert [row[1] for row in seen] == sorted((row[1] for row in seen), reverse=True)
    assert seen[0][2:] == ((2, 4, 8, 8), (2, 2, 4, 8, 8))


@pytest.mark.parametrize("family", FAMILIES)
def test_images_become_latents_and_come_back_scaled_as_the_pipeline_does(family: str) -> None:
    adapter = model(family)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    config = adapter.pipeline.vae.config
    raw = adapter.pipeline.vae.encode(2 * images - 1).latent_dist.mode()
    expected = (raw - (config.get("shift_factor") or 0)) * config.scaling_factor
    torch.testing.assert_close(adapter.encode_images(images), expected)
    decoded = adapter.pipeline.vae.decode(raw).sample / 2 + 0.5
    torch.testing.assert_close(adapter.decode(expected), decoded.clamp(0, 1), atol=1e-4, rtol=0)


def test_other_image_sizes() -> None:
    assert model(image_size=32).sample(PROMPTS, SEEDS, FEW).shape == (2, 4, 16, 16)
    with pytest.raises(DataError, match="image_size = 17: it has to be a multiple of 4"):
        model(image_size=17)


# ---- training ------------------------------------------------------------------------------------------


def image(number: int, **changes: Any) -> ConceptImage:
    settings = {"prompt": "a digit seven", "concept": "digit seven", "anchor": "a digit", "seed": number}
    return ConceptImage(id=f"i{number}", **{**settings, "steps": 3, "guidance": 2.0, **changes})


def test_batches_carry_numbers_of_texts() -> None:
    adapter = model()
    items = [image(0), image(1, prompt="a red cat", concept="cat")]
    examples = adapter.collate(items)
    texts = adapter.prompts.texts
    assert [texts[i] for i in examples["prompt"].tolist()] == ["a digit seven", "a red cat"]
    assert [texts[i] for i in examples["anchor"].tolist()] == ["a digit", "a digit"]
    assert examples["seed"].tolist() == [0, 1]
    assert examples.ids == ("i0", "i1")
    assert "latents" not in examples
    torch.testing.assert_close(
        adapter.embedding(examples).tokens, adapter.encode_prompts(["a digit seven", "a red cat"]).tokens
    )


def test_points_carry_their_step() -> None:
    point = TrajectoryPoint(id="p", prompt="a cat", concept="cat", seed=3, steps=5, guidance=2.0, step=4)
    examples = model().collate([point, point])
    assert (examples["step"].tolist(), examples["steps"].tolist()) == ([4, 4], [5, 5])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_training_loss_is_the_error_at_a_drawn_timestep(family: str) -> None:
    adapter = model(family)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    examples = adapter.collate([image(i, latents=latents[i]) for i in range(2)])
    torch.manual_seed(3)
    losses = adapter.example_loss(examples)
    torch.manual_seed(3)
    noised = adapter.noised(latents, examples.ids)
    output = adapter.predict(noised.latents, noised.timesteps, adapter.embedding(examples))
    torch.testing.assert_close(losses, (output - noised.target).square().flatten(1).mean(1))
    assert losses.shape == (2,)


def test_the_loss_of_the_flow_by_hand() -> None:
    # A flow's target is noise - x_0; a transformer whose output is 0 therefore errs by its mean square.
    adapter = model("sd3")
    with torch.no_grad():
        adapter.network.proj_out.weight.zero_()
        adapter.network.proj_out.bias.zero_()
    examples = adapter.collate([image(0, latents=torch.ones(4, 8, 8))])
    torch.manual_seed(0)
    loss = adapter.example_loss(examples)
    torch.manual_seed(0)
    noised = adapter.noised(examples["latents"], examples.ids)
    sigma = (noised.timesteps / 1000).item()
    noise = (noised.latents - (1 - sigma)) / sigma  # x_t = (1 - sigma) x_0 + sigma noise with x_0 = 1
    torch.testing.assert_close(loss, (noise - 1).square().mean().view(1), rtol=1e-3, atol=0)


def test_no_images_no_training_loss() -> None:
    adapter = model()
    with pytest.raises(NeedNotMet, match="render them first"):
        adapter.example_loss(adapter.collate([image(0)]))


def test_a_denoiser_has_no_classes() -> None:
    assert not {"output_logits", "output_labels"} & model().offers


def test_images_are_made_once_and_do_not_depend_on_the_batch() -> None:
    adapter = model()
    given = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    items = adapter.render([image(0), image(1, latents=given), image(2, steps=2)])
    assert torch.equal(items[1].latents, given)
    expected = adapter.sample(["a digit seven"], [2], Sampling(steps=2, guidance=2.0))[0]
    torch.testing.assert_close(items[2].latents, expected, atol=1e-5, rtol=1e-5)
    before = adapter.meter.frozen
    torch.testing.assert_close(adapter.clean_latents(adapter.collate(items[:2]))[0], items[0].latents)
    assert adapter.meter.frozen == before


def test_evaluations_are_counted_by_whether_they_keep_a_graph() -> None:
    adapter = model()
    latents, t, prompt = torch.randn(3, 4, 8, 8), torch.tensor([1, 2, 3]), adapter.encode_prompts(["a"] * 3)
    adapter.predict(latents, t, prompt)
    with torch.no_grad():
        adapter.predict(latents[:2], t[:2], prompt[:2])
    assert (adapter.meter.trained, adapter.meter.frozen) == (3, 2)


def test_the_fields_that_a_batch_reads_are_those_of_the_items() -> None:
    assert {"prompt", "anchor", "concept"} <= set(ConceptPrompt.__dataclass_fields__)


class Something:
    """A denoiser that nobody has heard of."""


def test_unknown_pipelines_are_refused() -> None:
    pipeline = tiny("sd1")
    pipeline.unet.register_to_config(time_cond_proj_dim=8)
    with pytest.raises(MismatchError, match="StableDiffusionPipeline with denoiser UNet2DConditionModel is not"):
        Diffusion(pipeline)
    with pytest.raises(MismatchError, match="denoiser NoneType is not supported"):
        Diffusion(Something())
