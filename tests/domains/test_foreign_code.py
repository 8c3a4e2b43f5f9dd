"""Code in a stranger's folder never runs, not even where somebody answers yes on standard input."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genunlearn.config import ParametersConfig
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.sentences import sentence_encoder
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.hub import check_folder, load_processor
from genunlearn.engine import parameters
from genunlearn.errors import InputError
from genunlearn.evaluation.diffusion.clip import ClipScorer
from genunlearn.evaluation.diffusion.folder_judge import FolderJudge
from genunlearn.evaluation.diffusion.two_model_classifier import Pretrained
from tests.tiny_pipelines import clip_tokenizer, tiny

CLASSES = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForImageClassification")
PARTS = ("AutoTokenizer", "AutoImageProcessor")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Lay code into a folder and let whoever asks hear yes; the test fails if the code has run."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 100))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))

    def plant(folder: Path) -> None:
        lines = [f"open({str(tmp_path / 'it ran')!r}, 'w').close()", "class Evil:", "    pass"]
        for place in (folder, *(path for path in folder.iterdir() if path.is_dir()), folder / "custom_generate"):
            place.mkdir(exist_ok=True)
            for name in ("evil.py", "pipeline.py", "generate.py"):
                (place / name).write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(folder))

    return plant


def change(path: Path, **entries: Any) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | entries))


def planted_config(folder: Path) -> None:
    change(folder / "config.json", model_type="evil", auto_map=dict.fromkeys(CLASSES, "evil.Evil"))


def planted_parts(folder: Path) -> None:
    auto = {name: ["evil.Evil", None] if name == "AutoTokenizer" else "evil.Evil" for name in PARTS}
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        change(folder / name, auto_map=auto, tokenizer_class="Evil", image_processor_type="Evil")
    change(folder / "config.json", auto_map=auto)


def classifier(folder: Path) -> Path:
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    shape = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic", "num_labels": 3}
    ResNetForImageClassification(ResNetConfig(**shape)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokenizer = clip_tokenizer()
    text = {**small, "vocab_size": len(tokenizer), "max_position_embeddings": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config={**small, "image_size": 8, "patch_size": 8})).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


def sentences(folder: Path) -> Path:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one"]
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=16, **small)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


def pipeline(folder: Path) -> Path:
    tiny("sd1").save_pretrained(folder)
    return folder


def language_model(folder: Path) -> Path:
    from tests.tiny_models import build

    return build("llama", folder)


def open_language_model(folder: Path) -> Any:
    return LanguageModel.load(str(folder), device="cpu")


def generate(folder: Path) -> None:
    open_language_model(folder).answer(["Who?"], max_new_tokens=2)


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], None], Callable[[Path], Any]]] = {
    "a language model": (language_model, planted_config, open_language_model),
    "its tokenizer": (language_model, planted_parts, open_language_model),
    "its way to generate": (
        language_model,
        lambda folder: change(folder / "generation_config.json", custom_generate="evil"),
        generate,
    ),
    "its attention": (
        language_model,
        lambda folder: change(folder / "config.json", attn_implementation="evil/kernel"),
        open_language_model,
    ),
    "a classifier": (classifier, planted_config, lambda folder: Classifier.load(str(folder), device="cpu")),
    "a classifier that is checked": (
        classifier,
        planted_config,
        lambda folder: check_folder(folder, is_regression=False),
    ),
    "an image processor": (classifier, planted_parts, load_processor),
    "a judge": (classifier, planted_config, FolderJudge.load),
    "a judge's processor": (classifier, planted_parts, FolderJudge.load),
    "a backbone": (classifier, planted_config, lambda folder: Pretrained(str(folder))),
    "a sentence encoder": (sentences, planted_config, sentence_encoder),
    "a sentence encoder's tokenizer": (sentences, planted_parts, sentence_encoder),
    "a CLIP model": (clip, planted_config, lambda folder: ClipScorer.from_pretrained(str(folder))),
    "the tokenizer of CLIP": (clip, planted_parts, lambda folder: ClipScorer.from_pretrained(str(folder))),
    "a pipeline": (
        pipeline,
        lambda folder: change(folder / "model_index.json", _class_name=["pipeline", "Evil"]),
        lambda folder: Diffusion.load(str(folder), device="cpu"),
    ),
    "a part of a pipeline": (
        pipeline,
        lambda folder: change(folder / "model_index.json", unet=["evil", "Evil"]),
        lambda folder: Diffusion.load(str(folder), device="cpu"),
    ),
    "a part that chooses its class": (
        pipeline,
        lambda folder: (
            planted_config(folder / "text_encoder"),
            change(folder / "model_index.json", text_encoder=["transformers", "AutoModel"]),
        )[0],
        lambda folder: Diffusion.load(str(folder), device="cpu"),
    ),
    "the tokenizer of a pipeline": (
        pipeline,
        lambda folder: (
            planted_parts(folder / "tokenizer"),
            change(folder / "model_index.json", tokenizer=["transformers", "AutoTokenizer"]),
        )[0],
        lambda folder: Diffusion.load(str(folder), device="cpu"),
    ),
}


@pytest.mark.parametrize(("build", "lay", "open_it"), KINDS.values(), ids=KINDS.keys())
def test_code_in_a_folder_never_runs(tmp_path, plant, build, lay, open_it):
    folder = build(tmp_path / "planted")
    plant(folder)
    lay(folder)
    try:
        open_it(folder)  # where the library has a class of its own, it takes that one
    except InputError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "it ran").exists()
    assert sys.stdin.tell() == 0, "somebody was asked"


@pytest.mark.parametrize("kind", ["a language model", "a classifier", "a judge", "a backbone", "a part of a pipeline"])
def test_a_model_that_needs_its_own_code_is_refused(tmp_path, plant, kind):
    build, lay, open_it = KINDS[kind]
    folder = build(tmp_path / "planted")
    plant(folder)
    lay(folder)
    with pytest.raises(InputError):
        open_it(folder)


def test_code_beside_a_patch_never_runs(tmp_path, plant, tiny):
    model = tiny("llama")
    parameters.attach(model, ParametersConfig(rank=2), seed=0)
    parameters.save_patch(model, tmp_path / "patch")
    plant(tmp_path / "patch")
    auto = {"base_model_class": "Evil", "parent_library": "evil"}
    change(
        tmp_path / "patch" / "adapter_config.json", megatron_config={"a": 1}, megatron_core="evil", auto_mapping=auto
    )
    with pytest.raises(InputError):
        parameters.load_patch(tiny("llama"), tmp_path / "patch", force=True)
    assert not (tmp_path / "it ran").exists()


def test_a_folder_that_leads_to_another_base_is_refused(tmp_path, tiny_folder):
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    change(folder / "adapter_config.json", base_model_name_or_path=str(tmp_path / "elsewhere"), peft_type="LORA")
    with pytest.raises(InputError, match=r"holds a LoRA \(adapter_config\.json\): give the model it was made for"):
        open_language_model(folder)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".h5", ".msgpack"])
def test_a_pickle_is_never_opened(tmp_path, tiny_folder, suffix):
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "it ran",))

    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    torch.save({"a": Evil()}, folder / f"pytorch_model{suffix}")
    with pytest.raises(InputError, match="no safetensors weights"):
        open_language_model(folder)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    "kind", ["a language model", "a classifier", "a judge", "a backbone", "a CLIP model", "a sentence encoder"]
)
def test_sound_weights_in_a_pickle_are_refused(tmp_path, request, kind):
    if kind == "a classifier":
        request.getfixturevalue("opens_images")
    build, _, open_it = KINDS[kind]
    folder = build(tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    open_it(folder)  # beside safetensors it is left alone
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError):
        open_it(folder)


def test_sound_weights_of_a_part_in_a_pickle_are_refused(tmp_path):
    folder = pipeline(tmp_path / "pipeline")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(InputError):
        Diffusion.load(str(folder), device="cpu")
