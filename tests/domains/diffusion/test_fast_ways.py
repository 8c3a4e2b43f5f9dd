"""What makes pipelines fast on GPUs leaves everything else as it is: layout, compiling, fused attention, batches."""

from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from safetensors.torch import load_file

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.config.diffusion import DiffusionConfig, DiffusionModelConfig
from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import ConceptPrompt
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.pipelines import channels_last
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.diffusion.esd import ESD
from genunlearn.runs.diffusion.pipelines import open_pipeline
from tests.tiny_pipelines import MAX_TOKENS, tiny

FEW = Sampling(steps=2, guidance=3.0)
PROMPTS = [ConceptPrompt(id="seven", prompt="a digit seven", concept="digit seven")]


def model(*, is_last: bool = False) -> Diffusion:
    pipeline = tiny("sd1")
    if is_last:
        channels_last(pipeline.unet)
        channels_last(pipeline.vae)
    return Diffusion(pipeline, text_length=MAX_TOKENS)


def look(adapter: Diffusion) -> torch.Tensor:
    return adapter.images(["a digit seven", "a red cat"], [1, 2], FEW)


def train(adapter: Diffusion, *, trajectories: int = 1, steps: int = 3) -> Trainer:
    settings = TrainConfig(learning_rate=1e-3, batch_size=1, max_steps=steps)
    trainer = Trainer(adapter, settings, ParametersConfig(kind="full", target_modules="x"), seed=0)
    method = ESD(trajectories=trajectories, steps=4)
    trainer(method, method.prepare(Splits(forget=PROMPTS), 0))
    return trainer


def test_attention_is_fused() -> None:
    parts = [part for part in model().network.modules() if isinstance(part, Attention)]
    assert parts and all(type(part.processor) is AttnProcessor2_0 for part in parts)


def test_channels_last_draws_trains_and_is_saved_as_before(tmp_path: Path) -> None:
    plain, last = model(), model(is_last=True)
    weight = last.network.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert plain.base_sha256 == last.base_sha256
    torch.testing.assert_close(look(last), look(plain), atol=1e-5, rtol=1e-5)
    losses = [[entry["loss"] for entry in train(each).history] for each in (plain, last)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for adapter, name in ((plain, "plain"), (last, "last")):
        adapter.export(tmp_path / name / "unet", "unet")
        adapter.export(tmp_path / name / "pipeline", "pipeline")
    for file in ("unet/unet.safetensors", "pipeline/unet/diffusion_pytorch_model.safetensors"):
        written = {name: load_file(tmp_path / name / file) for name in ("plain", "last")}
        assert written["plain"].keys() == written["last"].keys()
        for name, tensor in written["last"].items():
            torch.testing.assert_close(tensor, written["plain"][name], atol=1e-4, rtol=1e-4)


def test_trajectories_run_together_however_few_examples_a_step_takes() -> None:
    adapter = model()
    sizes: list[int] = []
    adapter.network.register_forward_hook(
        lambda module, given, out: sizes.append(len(given[0])) if not torch.is_grad_enabled() else None
    )
    train(adapter, trajectories=8, steps=1)
    assert sizes == [2 * 8] * 4  # prompt and empty prompt of 8 trajectories, 4 steps


def test_a_compiled_denoiser_draws_and_is_exported_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eager` is torch's compiler without the code that it writes at the end, which takes a minute."""
    compiler, seen = torch.compile, []

    def compile_eagerly(function, **options):
        seen.append(function)
        return compiler(function, backend="eager", **options)

    monkeypatch.setattr(torch._dynamo.config, "disable", False)
    monkeypatch.setattr(torch, "compile", compile_eagerly)
    tiny("sd1").save_pretrained(tmp_path / "base")
    plain, compiled = (
        open_pipeline(DiffusionConfig(model=DiffusionModelConfig(source=str(tmp_path / "base"), compile=is_compiled)))
        for is_compiled in (False, True)
    )
    assert len(seen) == 1
    torch.testing.assert_close(look(compiled), look(plain), atol=1e-5, rtol=1e-5)
    assert [*compiled.network.state_dict()] == [*plain.network.state_dict()]
    train(compiled)
    compiled.export(tmp_path / "patch", "delta")
    fresh = open_pipeline(DiffusionConfig(model=DiffusionModelConfig(source=str(tmp_path / "base"))))
    assert fresh.load_patch(tmp_path / "patch") == "delta"
    torch.testing.assert_close(look(fresh), look(compiled), atol=1e-5, rtol=1e-5)


def test_layers_that_are_computed_again_have_the_same_gradients(tmp_path: Path) -> None:
    tiny("sd1").save_pretrained(tmp_path)
    norms = []
    for is_again in (False, True):
        settings = DiffusionModelConfig(source=str(tmp_path), checkpoint_activations=is_again)
        adapter = open_pipeline(DiffusionConfig(model=settings))
        calls: list[int] = []
        adapter.network.mid_block.resnets[1].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        norms.append([entry["grad_norm"] for entry in train(adapter, steps=2).history])
        made = 4 + 2  # evaluations of a trajectory of four steps, and two steps
        assert len(calls) == (made + 2 if is_again else made)
    assert norms[1] == pytest.approx(norms[0], rel=1e-4) and all(norm > 0 for norm in norms[1])
