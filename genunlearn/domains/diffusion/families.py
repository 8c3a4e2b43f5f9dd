"""What differs between families of text-to-image pipelines: how prompts are embedded and denoisers called.

Latents have the shape ``(batch, channels, height, width)`` everywhere; a family that packs them does so
inside.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from genunlearn.domains.diffusion.prompts import PromptEmbedding, Section
from genunlearn.errors import MismatchError


@dataclass(frozen=True)
class Inputs:
    """What a denoiser is given.

    Attributes:
        noisy: ``(batch, channels, height, width)``.
        timesteps: ``(batch,)`` in the scheduler's units.
        prompt: One row for each example.
        embedded_scale: Guidance scale for denoisers that take it as an input; the others ignore it.
    """

    noisy: Tensor
    timesteps: Tensor
    prompt: PromptEmbedding
    embedded_scale: float = 1.0


@dataclass
class Meter:
    """What a denoiser has been asked to do, counted in samples; the record states it.

    Attributes:
        trained: Evaluations that kept what a backward pass needs.
        frozen: Evaluations without gradient: of the reference, of trajectories, of images.
        decoded: Latents that became images.
    """

    trained: int = 0
    frozen: int = 0
    decoded: int = 0


class Family(abc.ABC):
    """How to talk to the pipelines of one family.

    Attributes:
        pipeline: The diffusers pipeline.
        text_length: Tokens of a prompt for text encoders that take any length (T5).
    """

    network: ClassVar[str] = "unet"
    """Name of the denoiser among the pipeline's components."""
    text_side: ClassVar[str] = r"\.attn2\."
    """Parameters through which the prompt acts on the image."""
    keys_and_values: ClassVar[str] = r"\.attn2\.to_[kv]\."
    """Of those, the ones that make keys and values of the prompt."""
    reads_prompt: ClassVar[str] = r"\.attn2\.to_[kv]$"
    """Layers whose input is the prompt embedding itself."""
    values: ClassVar[str] = r"\.attn2\.to_v$"
    """Of those, the ones that make values."""
    has_cross_attention: ClassVar[bool] = True
    embeds_guidance: bool = False
    """Whether the denoiser takes the guidance scale as an input and is run once a step."""

    def __init__(self, pipeline: Any, text_length: int | None = None) -> None:
        self.pipeline = pipeline
        self.text_length = text_length

    @abc.abstractmethod
    def encode(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Embed prompts as the pipeline does."""

    @abc.abstractmethod
    def predict(self, module: nn.Module, inputs: Inputs) -> Tensor:
        """The denoiser's output, ``(batch, channels, height, width)``; `module` may be wrapped."""

    def unconditional(self) -> PromptEmbedding:
        """What guidance pairs with a prompt: by default the empty prompt."""
        return self.encode([""])

    def sections(self) -> tuple[Section, ...]:
        """Which tokenizer fills which positions of the embedding; by default one CLIP tokenizer fills all."""
        return (self._clip_section(),)

    def latent_channels(self) -> int:
        """Channels of the latents."""
        return int(self._component(self.network).config.in_channels)

    def latent_size(self) -> int:
        """Side of the latents that the pipeline makes by default."""
        size = self._component(self.network).config.sample_size
        return int(size if isinstance(size, int) else size[0])

    def schedule_options(self, steps: int, size: int) -> dict[str, Any]:
        """What the scheduler's ``set_timesteps`` gets besides the number of steps."""
        return {}

    def to_latents(self, encoded: Tensor) -> Tensor:
        """Scale what the VAE encodes to what the denoiser works on."""
        config = self.pipeline.vae.config
        return (encoded - (config.get("shift_factor") or 0.0)) * config.scaling_factor

    def to_encoded(self, latents: Tensor) -> Tensor:
        """The inverse of `to_latents`."""
        config = self.pipeline.vae.config
        return latents / config.scaling_factor + (config.get("shift_factor") or 0.0)

    def _component(self, name: str) -> Any:
        return getattr(self.pipeline, name)

    def _encode(self, prompts: Sequence[str], **options: Any) -> Sequence[Tensor]:
        """The pipeline's own encoding, without its negative prompts."""
        known = inspect.signature(self.pipeline.encode_prompt).parameters
        wanted: dict[str, Any] = {
            "prompt": list(prompts),
            "prompt_2": None,
            "prompt_3": None,
            "device": self._component(self.network).device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": False,
            **options,
        }
        return self.pipeline.encode_prompt(**{name: value for name, value in wanted.items() if name in known})

    def _clip_section(self) -> Section:
        tokenizer = self.pipeline.tokenizer or self.pipeline.tokenizer_2
        return Section(tokenizer, 0, tokenizer.model_max_length)


class StableDiffusion(Family):
    """SD 1.x and 2.x: one CLIP text encoder, a UNet with cross-attention."""

    def encode(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Last hidden states of the text encoder."""
        return PromptEmbedding(self._encode(prompts)[0])

    def predict(self, module: nn.Module, inputs: Inputs) -> Tensor:
        """One UNet evaluation."""
        states = inputs.prompt.tokens
        return module(inputs.noisy, inputs.timesteps, encoder_hidden_states=states, return_dict=False)[0]


class StableDiffusionXL(Family):
    """SDXL: two CLIP text encoders side by side, pooled text and image size beside the timestep."""

    def encode(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Penultimate hidden states of both text encoders; pooled output of the second."""
        tokens, _, pooled, _ = self._encode(prompts)
        return PromptEmbedding(tokens, pooled)

    def unconditional(self) -> PromptEmbedding:
        """The empty prompt, or zeros where the pipeline is configured to force them."""
        empty = self.encode([""])
        if not self.pipeline.config.force_zeros_for_empty_prompt:
            return empty
        pooled = None if empty.pooled is None else torch.zeros_like(empty.pooled)
        return PromptEmbedding(torch.zeros_like(empty.tokens), pooled)

    def predict(self, module: nn.Module, inputs: Inputs) -> Tensor:
        """One UNet evaluation for an uncropped image of the latents' size."""
        noisy = inputs.noisy
        height, width = (side * self.pipeline.vae_scale_factor for side in noisy.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], device=noisy.device, dtype=noisy.dtype)
        return module(
            noisy,
            inputs.timesteps,
            encoder_hidden_states=inputs.prompt.tokens,
            added_cond_kwargs={"text_embeds": inputs.prompt.pooled, "time_ids": sizes.expand(len(noisy), -1)},
            return_dict=False,
        )[0]


class JointAttention(Family):
    """Transformers in which text and image tokens attend to each other."""

    network = "transformer"
    text_side = r"\.attn\.(add_[qkv]_proj|to_add_out)\."
    keys_and_values = r"\.attn\.add_[kv]_proj\."
    reads_prompt = r"(^|\.)context_embedder$"
    values = reads_prompt
    has_cross_attention = False

    def _shift(self, tokens: int, max_shift: float) -> dict[str, float]:
        """The shift of the schedule for so many image tokens, linear in their number."""
        config = self.pipeline.scheduler.config
        if not config.get("use_dynamic_shifting"):
            return {}
        few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        low, high = config.get("base_shift", 0.5), config.get("max_shift", max_shift)
        return {"mu": low + (high - low) * (tokens - few) / (many - few)}


class StableDiffusion3(JointAttention):
    """SD3: two CLIP text encoders and a T5, joint attention, a flow."""

    def encode(self, prompts: Sequence[str]) -> PromptEmbedding:
        """CLIP tokens, then T5 tokens; pooled output of both CLIP encoders."""
        tokens, _, pooled, _ = self._encode(prompts, max_sequence_length=self._t5_length)
        return PromptEmbedding(tokens, pooled)

    def predict(self, module: nn.Module, inputs: Inputs) -> Tensor:
        """One transformer evaluation."""
        return module(
            hidden_states=inputs.noisy,
            timestep=inputs.timesteps,
            encoder_hidden_states=inputs.prompt.tokens,
            pooled_projections=inputs.prompt.pooled,
            return_dict=False,
        )[0]

    def sections(self) -> tuple[Section, ...]:
        """CLIP's tokens, then T5's where the pipeline has one."""
        clip = self._clip_section()
        t5 = self.pipeline.tokenizer_3
        return (clip,) if t5 is None else (clip, Section(t5, clip.length, self._t5_length))

    def schedule_options(self, steps: int, size: int) -> dict[str, Any]:
        """The shift for the number of image tokens, where the scheduler shifts by it."""
        patch = self._component(self.network).config.patch_size
        return self._shift((size // patch) ** 2, 1.16)

    @property
    def _t5_length(self) -> int:
        return self.text_length or 256


class Flux(JointAttention):
    """FLUX: T5 tokens, pooled CLIP text, latents packed two by two, a flow."""

    def __init__(self, pipeline: Any, text_length: int | None = None) -> None:
        super().__init__(pipeline, text_length)
        self.embeds_guidance = bool(pipeline.transformer.config.guidance_embeds)

    def encode(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Last hidden states of T5; pooled output of CLIP."""
        tokens, pooled, _ = self._encode(prompts, max_sequence_length=self._t5_length)
        return PromptEmbedding(tokens, pooled)

    def predict(self, module: nn.Module, inputs: Inputs) -> Tensor:
        """One transformer evaluation on packed latents."""
        noisy, prompt = inputs.noisy, inputs.prompt
        batch, channels, height, width = noisy.shape
        place: dict[str, Any] = {"device": noisy.device, "dtype": noisy.dtype}
        scales = torch.full((batch,), inputs.embedded_scale, device=noisy.device)
        packed = module(
            hidden_states=self.pipeline._pack_latents(noisy, batch, channels, height, width),
            timestep=(inputs.timesteps / 1000).to(noisy.dtype),
            guidance=scales if self.embeds_guidance else None,
            encoder_hidden_states=prompt.tokens,
            pooled_projections=prompt.pooled,
            txt_ids=torch.zeros(prompt.tokens.shape[1], 3, **place),
            img_ids=self.pipeline._prepare_latent_image_ids(batch, height // 2, width // 2, **place),
            return_dict=False,
        )[0]
        factor = self.pipeline.vae_scale_factor
        return self.pipeline._unpack_latents(packed, height * factor, width * factor, factor)

    def sections(self) -> tuple[Section, ...]:
        """T5 fills the whole sequence."""
        return (Section(self.pipeline.tokenizer_2, 0, self._t5_length),)

    def latent_channels(self) -> int:
        """A quarter of the transformer's, which sees two by two latents at once."""
        return super().latent_channels() // 4

    def latent_size(self) -> int:
        """The pipeline's default."""
        return int(self.pipeline.default_sample_size)

    def schedule_options(self, steps: int, size: int) -> dict[str, Any]:
        """Evenly spaced noise levels, shifted by the number of image tokens."""
        sigmas = {} if self.pipeline.scheduler.config.get("use_flow_sigmas") else {"sigmas": _even_sigmas(steps)}
        return {**sigmas, **self._shift((size // 2) ** 2, 1.15)}

    @property
    def _t5_length(self) -> int:
        return self.text_length or 512


def _even_sigmas(steps: int) -> Any:
    return np.linspace(1.0, 1 / steps, steps)


def family_of(pipeline: Any, text_length: int | None = None) -> Family:
    """The family of a pipeline, told by its denoiser.

    Raises:
        MismatchError: The pipeline is of none of the known families.
    """
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    kinds: dict[str, type[Family]] = {
        "UNet2DConditionModel": StableDiffusion,
        "SD3Transformer2DModel": StableDiffusion3,
        "FluxTransformer2DModel": Flux,
    }
    kind = kinds.get(type(network).__name__)
    if network is not None and kind is StableDiffusion:
        kind = _unet_family(network.config)
    if kind is None or not hasattr(pipeline, "encode_prompt"):
        raise MismatchError(
            f"pipeline {type(pipeline).__name__} with denoiser {type(network).__name__} is not supported: "
            "Stable Diffusion 1.x, 2.x, XL and 3 and FLUX text-to-image pipelines are"
        )
    return kind(pipeline, text_length)


def _unet_family(config: Any) -> type[Family] | None:
    """Plain SD or SDXL; None for UNets that take images, class labels or a distilled guidance scale too."""
    is_plain = config.in_channels == config.out_channels and not config.get("time_cond_proj_dim")
    if not is_plain or config.get("class_embed_type") or config.get("encoder_hid_dim_type"):
        return None
    return {None: StableDiffusion, "text_time": StableDiffusionXL}.get(config.get("addition_embed_type"))
