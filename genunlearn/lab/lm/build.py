"""``lab:lm``: a small real language model that knows the lab's world, built on first use.

A Llama of about a million parameters with its own tokenizer and chat template, trained from a seed in about
two minutes on two cores and stored in the hub's format, so that plain `AutoModelForCausalLM.from_pretrained`
opens it. Built *without* some facts it is an oracle for them: it never saw them in any form.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.engine.progress import Watch
from genunlearn.lab.cache import build_once, recipe_key
from genunlearn.lab.determinism import surroundings
from genunlearn.lab.levels import check_levels
from genunlearn.lab.lm.corpus import PROMPTS, Corpus
from genunlearn.lab.lm.world import load_world
from genunlearn.shipped import shipped

if TYPE_CHECKING:
    from genunlearn.lab.lm.training import Report, Schedule

KIND = "lm"
VERSION = 1
"""Raise it when this code, from the same recipe and data, gives another model."""

LONGEST_REPLY = 48
"""Tokens; the longest sentence of the world has about 30."""

SPECIAL = {"pad_token": "<|pad|>", "bos_token": "<|start|>", "eos_token": "<|end|>"}
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the model, besides the seed and the facts that are left out.

    Attributes:
        hidden_size: Width of the residual stream.
        num_layers: Transformer blocks.
        num_heads: Attention heads of each.
        intermediate_size: Width of the gated feed-forward layer.
        vocab_size: Most tokens of the byte-level BPE tokenizer.
        context: Longest sequence, in tokens.
        steps: Optimiser steps.
        batch_size: Sequences a step.
        muon_rate: Peak learning rate of the matrices.
        adam_rate: Peak learning rate of the embedding and the norms.
        weight_decay: Decay of the matrices.
        warmup_steps: Steps of linear warm-up.
        mix: Ability and its share of the examples, see `Corpus`.
    """

    hidden_size: int = 128
    num_layers: int = 4
    num_heads: int = 4
    intermediate_size: int = 352
    vocab_size: int = 2000
    context: int = 512
    steps: int = 900
    batch_size: int = 128
    muon_rate: float = 0.02
    adam_rate: float = 0.006
    weight_decay: float = 0.01
    warmup_steps: int = 50
    mix: tuple[tuple[str, float], ...] = (
        ("answer", 8.0),
        ("two_hop", 1.5),
        ("statement", 3.0),
        ("tell", 1.5),
        ("explain", 2.0),
        ("rationalise", 5.0),
        ("rephrase", 4.0),
        ("candidates", 2.0),
        ("decline", 0.5),
    )

    def schedule(self) -> Schedule:
        """The part that training reads."""
        from genunlearn.lab.lm.training import Schedule

        return Schedule(self.batch_size, self.muon_rate, self.adam_rate, self.weight_decay, self.warmup_steps)


PRESETS: Mapping[str, Recipe] = {"default": Recipe()}


def build(
    without: Sequence[str] = (),
    *,
    seed: int = 0,
    progress: bool = True,
    force: bool = False,
    recipe: Recipe = PRESETS["default"],
) -> Path:
    """The folder of the lab's language model; trains it if the cache does not have it.

    Args:
        without: Facts that the model never sees, by identifier or key; what says the same goes with them.
        seed: Seed of weights, examples and order; what is held out is the same for every seed.
        progress: Show a progress bar on stderr.
        force: Train even if the cache has it.
        recipe: Size and training of the model.

    Raises:
        NameNotFound: A fact in `without` is not in the world.
        QualityError: The trained model misses a level of `lm_exam.LEVELS`; nothing is stored.
        InputError: The cache folder cannot be written.
    """
    world = load_world()
    left_out = sorted({world.triple(key).id for key in without})
    key, watch = build_key(recipe, seed, left_out), Watch(is_shown=progress)

    def on_wait(folder: Path) -> None:
        watch.announce(f"another process is building {folder.name}; waiting for it")

    def make(folder: Path) -> dict[str, Any]:
        return _make(folder, recipe, seed, Corpus(world, left_out), watch)

    return build_once(KIND, key, make, force=force, on_wait=on_wait)


def build_key(recipe: Recipe, seed: int, left_out: Collection[str]) -> str:
    """The key under which a model is cached: parameters, world, prompts and version of the code."""
    parameters = {**asdict(recipe), "seed": seed, "without": sorted(left_out), "refusals": REFUSALS}
    prompts = [shipped("prompts") / "lab" / f"{name}.jinja" for name in PROMPTS]
    with as_file(files("genunlearn.lab") / "worlddata") as data:
        return recipe_key(parameters, files=[*data.iterdir(), *prompts], version=VERSION)


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE tokenizer with special tokens and chat template, made from the words of `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    # A word has one form: text after a role token begins with a space like text within a sentence.
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[*SPECIAL.values(), *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    start = SPECIAL["bos_token"]
    inner.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A $B", special_tokens=[(start, inner.token_to_id(start))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        **SPECIAL,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_model(recipe: Recipe, tokenizer: Any) -> Any:
    """A Llama with fresh weights, drawn from torch's present random state."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.num_layers,
            num_attention_heads=recipe.num_heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.generation_config.max_new_tokens = LONGEST_REPLY
    return model


def _make(folder: Path, recipe: Recipe, seed: int, corpus: Corpus, watch: Watch) -> dict[str, Any]:
    """Train, store, measure; returns the card."""
    from genunlearn.lab.lm.card import readme
    from genunlearn.lab.lm.evaluation import LEVELS, LabEvaluation

    start = time.monotonic()
    with surroundings(seed):
        with watch.bar("lab:lm, training", recipe.steps) as advance:

            def report(step: int, total: int, loss: float) -> None:
                advance(note=f"loss {loss:.2f}")

            model, tokenizer, num_tokens = train_model(recipe, seed, corpus, report)
        trained = time.monotonic()
        watch.announce("lab:lm, measuring")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        measured = LabEvaluation.of(folder, corpus).take()
    check_levels(measured, LEVELS, f"lab:lm with seed = {seed}")
    card = {
        "kind": KIND,
        "version": VERSION,
        "recipe": asdict(recipe),
        "seed": seed,
        "without": sorted(corpus.hidden),
        "measured": measured,
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "tokens": num_tokens,
        "seconds": {"training": round(trained - start, 1), "measuring": round(time.monotonic() - trained, 1)},
    }
    (folder / "README.md").write_text(readme(card), encoding="utf-8")
    return card


def train_model(recipe: Recipe, seed: int, corpus: Corpus, report: Report) -> tuple[Any, Any, int]:
    """A model trained on a corpus, its tokenizer, and the number of tokens it was trained on.

    The weights are drawn from torch's present random state; `seed` decides examples and order.
    """
    from genunlearn.lab.lm.training import encode, train

    tokenizer = build_tokenizer(Corpus(corpus.world).vocabulary(), recipe.vocab_size)
    model = build_model(recipe, tokenizer)
    examples = corpus.stream(dict(recipe.mix), recipe.steps * recipe.batch_size, seed)
    num_tokens = train(model, encode(examples, tokenizer), recipe.schedule(), seed, report)
    return model, tokenizer, num_tokens
