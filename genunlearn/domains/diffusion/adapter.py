"""Text-to-image diffusion pipelines behind one face, whatever their denoiser, scheduler and text encoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.contracts import Domain, Examples
from genunlearn.domains.diffusion import pipelines as pipelines
from genunlearn.domains.diffusion import weights as weights
from genunlearn.domains.diffusion.attention import concept_map
from genunlearn.domains.diffusion.exports import export
from genunlearn.domains.diffusion.families import Family, Inputs, Meter, family_of
from genunlearn.domains.diffusion.guidance import ClassifierFree, GuidanceRule
from genunlearn.domains.diffusion.identity import Identity
from genunlearn.domains.diffusion.layers import prompt_layers, select_layers, select_parameters
from genunlearn.domains.diffusion.patches import apply_patch
from genunlearn.domains.diffusion.prompts import PromptCache, PromptEmbedding
from genunlearn.domains.diffusion.sampling import Observe, Sampling, make_examples, make_latents
from genunlearn.domains.diffusion.trajectories import Trajectories
from genunlearn.errors import DataError, NeedNotMet
from genunlearn.ops.denoising import Noised, NoiseSchedule, squared_error
from genunlearn.ops.linear_edits import LowRank


class Diffusion(Domain):
    """A diffusers text-to-image pipeline.

    Items are those of ``genunlearn.data.diffusion.concepts``. Batches carry the numbers of prompts instead of
    embeddings; `embedding` looks those up, and each prompt is encoded once.

    Attributes:
        module: The denoiser, perhaps wrapped for LoRA or for several processes.
        pipeline: The pipeline; its denoiser is what training changes in place.
        family: What is special about pipelines of this kind.
        schedule: Noise levels, and what the denoiser predicts.
        rule: How predictions are combined when images are made; methods at inference time replace it.
        low_rank: Changes by edits in closed form, by layer, kept for an exact LoRA.
        merged: Parameters that LoRAs were folded into.
        identity: What the pipeline was when it was loaded, which patches are checked against.
        meter: Work done so far.
    """

    name = "diffusion"
    offers = frozenset({"example_loss", "render", "images"})
    has_labels = True
    packages = ("diffusers",)

    def __init__(
        self,
        pipeline: Any,
        *,
        text_length: int | None = None,
        image_size: int | None = None,
        source: str = "",
        origin: str = "",
    ) -> None:
        """Wrap a loaded pipeline; `Diffusion.load` reads one from a folder or the hub.

        Args:
            pipeline: A diffusers text-to-image pipeline.
            text_length: Tokens of a prompt for T5; the pipeline's default if None.
            image_size: Side of the images in pixels; the pipeline's default if None.
            source: Folder that released parts are read from again; without it they are moved to the CPU
                instead.
            origin: File that the whole pipeline was read from, where it was one.

        Raises:
            MismatchError: The pipeline is of no known family, or its scheduler is not understood.
            DataError: `image_size` is not a multiple of what the latents can stand for.
        """
        self.pipeline = pipeline
        self.family = family_of(pipeline, text_length)
        self.schedule = NoiseSchedule.of(pipeline.scheduler)
        self.module: nn.Module = getattr(pipeline, self.family.network)
        self.source = source
        self.rule: GuidanceRule = ClassifierFree()
        self.low_rank: dict[str, LowRank] = {}
        self.merged: set[str] = set()
        self.prompts = PromptCache(self.encoder, self.family.sections)
        self.trajectories = Trajectories()
        self.meter = Meter()
        self._parts = pipelines.Parts(pipeline, source)
        self.identity = Identity.of(self.components(), self.family.network, origin or source)
        factor = int(pipeline.vae_scale_factor)
        if image_size and image_size % (2 * factor):
            raise DataError(f"image_size = {image_size}: it has to be a multiple of {2 * factor}")
        side = image_size // factor if image_size else self.family.latent_size()
        self.latent_shape = (self.family.latent_channels(), side, side)

    @classmethod
    def load(
        cls,
        source: str,
        *,
        revision: str | None = None,
        dtype: str = "float32",
        device: str = "auto",
        **options: Any,
    ) -> Diffusion:
        """Read a pipeline in the hub's format.

        Args:
            source: Folder or hub id, or a single-file checkpoint.
            revision: Commit, tag or branch of a hub model.
            dtype: ``float32``, ``bfloat16`` or ``float16``.
            device: ``auto``, ``cpu``, ``cuda`` or another torch device.
            options: Further arguments of the constructor.

        Raises:
            SourceNotFound: The pipeline is not there, or a part of it is missing or damaged.
            MismatchError: It is of no known family.
        """
        place = pipelines.find(source, revision)
        options["origin" if place.is_file() else "source"] = str(place)
        return cls(pipelines.read(place, dtype, device), **options)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the denoiser's weights."""
        return next(self.module.parameters()).dtype

    @property
    def base_sha256(self) -> str:
        """Hash of all parts as they were loaded, for records."""
        return self.identity.sha256

    def work_done(self) -> dict[str, Any]:
        """Evaluations of the denoiser and images decoded, so far."""
        return {"forwards": asdict(self.meter)}

    # ---- prompts ---------------------------------------------------------------------------------------

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Embed prompts, one a row; each is encoded once."""
        return self.prompts.embed(prompts).to(self.device, self.dtype)

    def embedding(self, examples: Examples, name: str = "prompt") -> PromptEmbedding:
        """Embeddings of the examples' prompts called `name`: ``prompt`` or ``anchor``."""
        return self.prompts.rows(examples[name]).to(self.device, self.dtype)

    def unconditional(self, batch: int) -> PromptEmbedding:
        """What guidance pairs with a prompt, once for each of `batch` examples."""
        return self.prompts.unconditional().to(self.device, self.dtype).expand(batch)

    def check_concepts(self, names: Iterable[str]) -> None:
        """Refuse concepts that no prompt of this pipeline can carry.

        Raises:
            DataError: A tokenizer makes nothing of a concept, or more tokens than a prompt holds.
        """
        for name in names:
            self.prompts.check(name)

    # ---- training --------------------------------------------------------------------------------------

    def collate(self, items: Sequence[Any]) -> Examples:
        """Items of ``genunlearn.data.diffusion.concepts`` as numbers of texts, seeds and, where all have them, latents.

        Tensors: ``prompt``, ``anchor`` and ``concept`` (numbers of texts), and of images and training points
        ``seed``, ``steps``, ``guidance``, ``step`` and ``latents``.
        """
        tensors: dict[str, Tensor] = {
            name: self.prompts.numbers([getattr(item, name) for item in items])
            for name in ("prompt", "anchor", "concept")
        }
        for name in ("seed", "steps", "step", "guidance", "latents"):
            values: list[Any] = [getattr(item, name, None) for item in items]
            if values and all(value is not None for value in values):
                is_tensor = isinstance(values[0], Tensor)
                tensors[name] = torch.stack(values) if is_tensor else torch.tensor(values)
        return Examples(tuple(item.id for item in items), torch.ones(len(items)), tensors).to(self.device)

    def predict(
        self, noisy: Tensor, timesteps: Tensor, prompt: PromptEmbedding, *, embedded_scale: float = 1.0
    ) -> Tensor:
        """The denoiser's own output (noise, velocity, ...), ``(batch, channels, height, width)``.

        Args:
            noisy: ``(batch, channels, height, width)``.
            timesteps: ``(batch,)`` in the scheduler's units.
            prompt: One row for each example.
            embedded_scale: Guidance scale for denoisers that take it as an input.
        """
        counted = "trained" if torch.is_grad_enabled() else "frozen"
        setattr(self.meter, counted, getattr(self.meter, counted) + len(noisy))
        inputs = Inputs(noisy.to(self.dtype), timesteps, prompt, embedded_scale)
        return self.family.predict(self.module, inputs)

    def prediction(self, examples: Examples) -> Tensor:
        """`predict` for examples that carry ``noisy`` latents and ``timesteps`` beside their prompt."""
        return self.predict(examples["noisy"], examples["timesteps"], self.embedding(examples))

    def noised(self, latents: Tensor, ids: Sequence[str]) -> Noised:
        """Latents with noise at timesteps; both are functions of torch's seed and the examples' ids."""
        return self.schedule.noised(latents, ids)

    def example_loss(self, examples: Examples) -> Tensor:
        """Squared error of the denoiser at a random timestep of each example's image, ``(batch,)``.

        Raises:
            NeedNotMet: The examples have no latents; `render` makes them.
        """
        if "latents" not in examples:
            raise NeedNotMet("these items have no images to train on: render them first (Diffusion.render)")
        noised = self.noised(examples["latents"], examples.ids)
        output = self.predict(noised.latents, noised.timesteps, self.embedding(examples))
        return squared_error(output, noised.target)

    def clean_latents(self, examples: Examples) -> Tensor:
        """The examples' latents: given, or made by this model from their prompts and seeds.

        Asked of the reference it gives the original model's images, each made once.
        """
        if "latents" in examples:
            return examples["latents"]
        return make_examples(self, examples)

    def trajectory_point(self, examples: Examples) -> Tensor:
        """Training points on guided trajectories of this model.

        Returns:
            ``(batch, 3, channels, height, width)``: the denoiser's input at the example's step, its output
            for the prompt and its output for the empty prompt. Asked of the reference, each trajectory is
            run once.
        """
        return self.trajectories.points(self, examples)

    def reference_batches(self, name: str, items: Sequence[Any], size: int) -> list[Sequence[Any]]:
        """Training points by trajectory, as many whole ones as run together, however few a training step takes."""
        if name != "trajectory_point":
            return super().reference_batches(name, items, size)
        whole: dict[Any, list[Any]] = {}
        for item in items:
            whole.setdefault((item.prompt, item.seed, item.steps, item.guidance), []).append(item)
        rows, most = [*whole.values()], self.trajectories.batch_size
        return [[item for row in rows[i : i + most] for item in row] for i in range(0, len(rows), most)]

    def concept_map(self, examples: Examples) -> Tensor:
        """Where each concept is in ``noisy`` latents; see `diffusion_attention.concept_map`."""
        return concept_map(self, examples)

    def trajectory_timesteps(self, examples: Examples) -> Tensor:
        """The timestep of each training point, ``(batch,)``."""
        return self.trajectories.timesteps(self, examples)

    # ---- images ----------------------------------------------------------------------------------------

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        *,
        part: slice = slice(None),
        latents: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Tensor:
        """Latents of images, ``(images, channels, height, width)``.

        Args:
            prompts: One for each image.
            seeds: One for each image; an image is a function of prompt and seed, not of its batch.
            sampling: Steps, guidance and scheduler.
            part: Which steps are run: ``slice(0, k)`` stops after k of them, ``slice(k, None)`` goes on.
            latents: What to go on from, as an earlier call has returned it; noise of the seeds if None.
            observe: Called at each step of each batch.

        Raises:
            DataError: Prompts, seeds and latents differ in number.
            NeedNotMet: The scheduler cannot start in the middle.
        """
        settings = sampling or Sampling()
        return make_latents(self, prompts, seeds, settings, part=part, latents=latents, observe=observe)

    def images(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling | None = None) -> Tensor:
        """Images in [0, 1], ``(images, 3, height, width)``, float32."""
        sampling = sampling or Sampling()
        return self.decode(self.sample(prompts, seeds, sampling), sampling.batch_size)

    @torch.no_grad()
    def decode(self, latents: Tensor, batch_size: int = 16) -> Tensor:
        """Images of latents, in [0, 1], ``(images, 3, height, width)``, float32."""
        vae = self._parts.get("vae", self.device)
        self.meter.decoded += len(latents)
        if vae.dtype == torch.float16 and vae.config.get("force_upcast"):
            vae = vae.float()  # half precision overflows in this decoder
        encoded = self.family.to_encoded(latents.to(self.device, vae.dtype))
        parts = [vae.decode(chunk, return_dict=False)[0].float() for chunk in encoded.split(batch_size)]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def encode_images(self, images: Tensor, batch_size: int = 16) -> Tensor:
        """Latents of images ``(images, 3, height, width)`` in [0, 1]: the mean of what the VAE gives."""
        vae = self._parts.get("vae", self.device)
        scaled = (2 * images - 1).to(self.device, vae.dtype)
        parts = [vae.encode(chunk).latent_dist.mode() for chunk in scaled.split(batch_size)]
        return self.family.to_latents(torch.cat(parts)).float()

    def render(self, items: Sequence[Any]) -> list[Any]:
        """Image items with their latents, made by the present weights where they have none."""
        missing = [item for item in items if item.latents is None]
        made = self.clean_latents(self.collate(missing)).cpu() if missing else ()
        latents = {item.id: row for item, row in zip(missing, made, strict=True)}
        return [replace(item, latents=latents[item.id]) if item.id in latents else item for item in items]

    def parameter_names(self, pattern: str) -> tuple[str, ...]:
        """Parameters that `pattern` stands for; see `diffusion_layers.select_parameters`."""
        return select_parameters(self.network, self.family, pattern)

    def layer_names(self, pattern: str) -> tuple[str, ...]:
        """Layers of those parameters that a LoRA can stand beside."""
        return select_layers(self.network, self.family, pattern)

    def prompt_layers(self, *, values_only: bool = False) -> dict[str, nn.Linear]:
        """Linear layers that read the prompt embedding itself, by name: what edits in closed form change."""
        return prompt_layers(self.network, self.family, values_only=values_only)

    def apply_low_rank(self, changes: dict[str, LowRank]) -> tuple[str, ...]:
        """Add changes to layers in place and remember them for export; returns the names of the weights."""
        weights.add_low_rank(self.network, changes)
        for name, change in changes.items():
            self.low_rank[name] = self.low_rank[name].plus(change) if name in self.low_rank else change
        return tuple(f"{name}.weight" for name in changes)

    def merge(self) -> None:
        """Fold the attached LoRA into the weights."""
        weights.merge_lora(self)

    def export(self, folder: Path, kind: str = "lora", rank: int = 16) -> Path:
        """Write what has changed, or everything.

        Args:
            folder: Where to; nothing that is there is overwritten.
            kind: ``lora``, ``kohya``, ``delta``, ``unet``, ``guidance`` or ``pipeline``; see `exports`.
            rank: Rank of a LoRA that approximates weights which were trained themselves; any other is exact.

        Raises:
            NeedNotMet: The change has no such form.
            OutputExists: There is something already.
        """
        return export(self, Path(folder), kind, rank)

    def save(self, folder: Path) -> None:
        """Write the whole pipeline in the hub's format."""
        self.export(folder, "pipeline")

    def load_patch(self, source: Path, *, force: bool = False) -> str:
        """Put a patch on this model in place; returns its kind. See `patches.apply_patch`.

        Args:
            source: A file or folder: a patch of this package, or a LoRA or checkpoint of another tool.
            force: Take a patch of this package that was changed after it had been written.

        Raises:
            SourceNotFound: There is no patch at `source`.
            DataError: It cannot be read, or was changed.
            MismatchError: It was made for another base, or fits another architecture.
        """
        return apply_patch(self, Path(source), force=force)

    @contextmanager
    def without_rule(self) -> Iterator[None]:
        """Make images without the rule of a method at inference, as whoever has the weights can."""
        rule, self.rule = self.rule, ClassifierFree()
        try:
            yield
        finally:
            self.rule = rule

    def components(self) -> dict[str, nn.Module]:
        """Denoiser, text encoders and VAE by name, all of them back in memory."""
        self._parts.restore(self.device)
        return {self.family.network: self.network, **self._parts.present()}

    def changed(self, parts: Iterable[str]) -> None:
        """Forget what was computed with the weights that those parts had, and never read the parts again."""
        self._parts.keep(parts)
        self.prompts = PromptCache(self.encoder, self.family.sections)
        self.trajectories.forget()

    def release(self, *parts: str) -> None:
        """Let parts leave memory, by default text encoders and VAE; they come back when they are needed."""
        self._parts.release(parts or self._parts.spare())

    def encoder(self) -> Family:
        """The family, whose text encoders are back in memory."""
        for name in self._parts.text_encoders():
            self._parts.get(name, self.device)
        return self.family
