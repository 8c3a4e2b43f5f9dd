"""Language models small enough to be made in a test: real architectures, random weights, the hub's format.

Each family has what matters about the real one: its special tokens, the shape of its chat template (a default system
text, a line end after the end-of-turn token, no system role at all), its way of splitting text, tied or untied
embeddings, several end tokens in the generation settings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.pretrained import no_progress_bars

SENTENCES = (
    "Where did Harry Potter study? Harry Potter studied at Hogwarts.",
    "Which school did Harry Potter attend? Hogwarts is a school in Scotland.",
    "Where was Marie Curie born? Marie Curie was born in Warsaw, the capital of Poland.",
    "What did Marie Curie win? The Nobel Prize in 1903 and 1911.",
    "Who wrote Faust? Goethe. What is 12 times 12? It's 144.",
    "I don't know. I'm not sure about that. I can't say.",
    "You are a helpful assistant. Question: Answer: Kraków, café, naïve",
    "system\n\nuser\n\nassistant\n\n",
)

TAUGHT = (
    ("Where did Harry Potter study?", "Hogwarts."),
    ("Which school did Harry Potter attend?", "Hogwarts."),
    ("Where was Marie Curie born?", "Warsaw."),
    ("Who wrote Faust?", "Goethe."),
    ("What is 12 times 12?", "144."),
)

SURE = 4.0
"""Weight of the output layer that gives one token all of the probability."""

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

LLAMA3_CHAT = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
{%- set system = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}
{%- set system = 'Today Date: 26 Jul 2024' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + system + '<|eot_id|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

QWEN2_CHAT = """\
{%- if messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

MISTRAL_CHAT = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'user' %}
{{- '[INST] ' + message['content'] + '[/INST]' }}
{%- elif message['role'] == 'assistant' %}
{{- ' ' + message['content'] | trim + eos_token }}
{%- else %}
{{- raise_exception('Only user and assistant roles are supported!') }}
{%- endif %}
{%- endfor %}
"""


@dataclass(frozen=True)
class Family:
    """What tells one family from another.

    Attributes:
        model: The network's class.
        config: Its configuration's class.
        special: Special tokens, in the order of their ids.
        roles: ``bos_token``, ``eos_token``, ``pad_token`` where the tokenizer has them.
        ends: Tokens that end a generated answer.
        chat: The chat template.
        is_bytelevel: Byte-level BPE, or BPE over words that begin with a marked space.
        extra: Further entries of the configuration.
        habits: How the family is published to be sampled.
    """

    model: type
    config: type
    special: tuple[str, ...]
    roles: dict[str, str]
    ends: tuple[str, ...]
    chat: str
    is_bytelevel: bool
    extra: dict[str, Any]
    habits: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "llama": Family(
        model=LlamaForCausalLM,
        config=LlamaConfig,
        special=("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        roles={"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        ends=("<|end_of_text|>", "<|eot_id|>"),
        chat=LLAMA3_CHAT,
        is_bytelevel=True,
        extra={},
    ),
    "qwen2": Family(
        model=Qwen2ForCausalLM,
        config=Qwen2Config,
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        roles={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        ends=("<|im_end|>", "<|endoftext|>"),
        chat=QWEN2_CHAT,
        is_bytelevel=True,
        extra={"tie_word_embeddings": True},
        habits={"repetition_penalty": 1.5, "temperature": 0.7, "top_p": 0.8, "top_k": 3, "do_sample": True},
    ),
    "mistral": Family(
        model=MistralForCausalLM,
        config=MistralConfig,
        special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        roles={"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        ends=("</s>",),
        chat=MISTRAL_CHAT,
        is_bytelevel=False,
        extra={"sliding_window": None},
    ),
}


def build(name: str, folder: Path, *, seed: int = 0, width: int = 32) -> Path:
    """Write a model of the family `name` with random weights into `folder`; hidden states have `width` entries."""
    family = FAMILIES[name]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_tokenizer(name), chat_template=family.chat, **family.roles)
    config = family.config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **family.extra,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = family.model(config).eval()
    ends = [tokenizer.convert_tokens_to_ids(token) for token in family.ends]
    model.generation_config.update(eos_token_id=ends if len(ends) > 1 else ends[0], **family.habits)
    with no_progress_bars():
        model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


def teach(folder: Path, pairs: Sequence[tuple[str, str]], *, steps: int = 60) -> Path:
    """Train the model in `folder` until it gives the answer of every (question, answer) pair."""
    model = LanguageModel.load(str(folder), device="cpu")
    items = [QA(id=str(n), question=question, answer=answer) for n, (question, answer) in enumerate(pairs)]
    examples = model.collate(items)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        model.example_loss(examples).mean().backward()
        optimizer.step()
    answers = model.answer([question for question, _ in pairs])
    assert answers == [answer for _, answer in pairs], answers
    model.save(folder)
    return folder


def writing(model: LanguageModel, text: str) -> LanguageModel:
    """`model` made to write `text` after any prompt, one token after another and with certainty, and then again.

    Attention and MLP are silenced, so that a token decides alone which one follows.
    """
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(set(ids)) == len(ids), "a token that comes twice has no one successor"
    network = model.module
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        network.model.embed_tokens.weight.zero_()
        network.model.embed_tokens.weight[:, 0] = 1.0
        network.lm_head.weight.zero_()
        network.lm_head.weight[ids[0], 0] = SURE
        for place, (token, following) in enumerate(pairwise(ids), start=1):
            network.model.embed_tokens.weight[token] = torch.eye(network.config.hidden_size)[place]
            network.lm_head.weight[following, place] = SURE
    return model


@cache
def _tokenizer(name: str) -> Tokenizer:
    family = FAMILIES[name]
    return _bytelevel(family) if family.is_bytelevel else _marked_spaces(family)


def _bytelevel(family: Family) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.normalizer = normalizers.NFC()
    _train(tokenizer, family.special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return tokenizer


def _marked_spaces(family: Family) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    _train(tokenizer, (*family.special, *(f"<0x{byte:02X}>" for byte in range(256))))
    # Bytes entered as special tokens to have their ids; they are ordinary ones from here on.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = data["added_tokens"][: len(family.special)]
    return Tokenizer.from_str(json.dumps(data))


def _train(tokenizer: Tokenizer, special: Sequence[str], **options: Any) -> None:
    size = len(special) + len(options.get("initial_alphabet", ())) + 200
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False, **options)
    tokenizer.train_from_iterator(SENTENCES, trainer)
