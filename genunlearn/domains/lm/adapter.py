"""Causal language models: load, collate question-answer pairs, sequence log-probabilities, generate, save."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from genunlearn.contracts import Batch, Examples, LabelledDomain
from genunlearn.domains.lm.beginnings import Pair
from genunlearn.domains.lm.chat import ChatFormat, Turn
from genunlearn.domains.lm.generation import Generating
from genunlearn.domains.lm.hidden import HiddenStates
from genunlearn.domains.lm.logit_difference import open_assisted
from genunlearn.domains.lm.packing import answer_rows, answer_scores, is_packable
from genunlearn.domains.pretrained import (
    check_map,
    find_device,
    input_device,
    no_progress_bars,
    open_tokenizer,
    origin_of,
)
from genunlearn.domains.sharding import is_sharded, is_sharding_asked, shard
from genunlearn.domains.sources import check_language_model, hash_weights, resolve_folder
from genunlearn.errors import ConfigError
from genunlearn.ops.logprobs import IGNORE, answer_lengths, answer_logprobs, last_positions
from genunlearn.processes import in_turns
from genunlearn.records import honour_umask

LONGEST_ANSWER = 48
"""Tokens of a generated answer, where nobody says otherwise."""
ALTERNATIVE = "alternative_"
"""Before the names of tensors and scores of another answer to the same question."""


@dataclass
class Meter:
    """What a model has been asked to do; the record states it."""

    forwards: int = 0
    tokens_scored: int = 0
    tokens_generated: int = 0


class LanguageModel(HiddenStates, Generating, LabelledDomain):
    """A causal language model with its tokenizer.

    Attributes:
        module: The network, perhaps wrapped for LoRA or for several processes.
        chat: The conversation format of the tokenizer.
        prompt_suite: Which prompts it is asked with when it writes its own training material.
        origin: Where it came from and how it was loaded, see `genunlearn.domains.pretrained.origin_of`.
        longest_answer: Tokens of a generated answer, where a call does not say; thinking models need more.
        meter: Work done so far.
    """

    name = "lm"
    offers = frozenset(
        {"example_loss", "output_logits", "output_labels", "sequence_nll", "hidden_states", "layer_states", "generate"}
    )
    has_labels = True
    lora_task = "CAUSAL_LM"
    batch_shaped = frozenset({"output_logits", "hidden_states", "layer_states"})

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Any,
        *,
        base_sha256: str | None = None,
        prompt_suite: str = "instruct",
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        """Wrap a loaded model; `LanguageModel.load` reads one from a folder or the hub."""
        self.module = module
        self.tokenizer = tokenizer
        self.chat = ChatFormat(tokenizer)
        self._base_sha256 = base_sha256
        self.prompt_suite = prompt_suite
        self.origin = dict(origin or {})
        self.longest_answer = LONGEST_ANSWER
        self.meter = Meter()
        self._pad = _pad_id(tokenizer)
        self._tried: tuple[weakref.ref[nn.Module], bool] | None = None  # whether this network can be read packed

    @classmethod
    def load(
        cls,
        source: str,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        quantize: str = "none",
        device: str = "auto",
        device_map: str | Mapping[str, str | int] | None = None,
        prompt_suite: str = "instruct",
    ) -> LanguageModel:
        """Read a model in the hub's format.

        Args:
            source: Folder or hub id.
            revision: Commit, tag or branch of a hub model.
            dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for what the model's configuration names.
            quantize: ``none`` or ``nf4`` (needs bitsandbytes).
            device: ``auto``, ``cpu``, ``cuda`` or another torch device.
            device_map: Spreads the weights over several devices, as accelerate does; `device` must be ``auto`` then.
            prompt_suite: Which prompts the model is asked with when it writes its own training material.

        Raises:
            SourceNotFound: The model is not there, not complete or not a causal language model.
            ConfigError: There is no such device here, or both `device` and `device_map` are given.
            NeedNotMet: bitsandbytes is asked for and not installed.
        """
        folder = resolve_folder(source, revision)
        check_language_model(folder)
        is_cut = is_sharding_asked()
        if is_cut and (device != "auto" or device_map is not None):
            raise ConfigError("sharded weights go where their processes are: leave out model.device and device_map")
        places = check_map(device_map, device)
        place = find_device("cpu" if is_cut else device)
        module: Any = open_assisted(folder, dtype=dtype, quantize=quantize, device=place, device_map=places)
        module = shard(module) if is_cut else module
        tokenizer = open_tokenizer(folder)
        loaded_in = str(module.dtype).removeprefix("torch.") if dtype == "auto" else dtype
        origin = origin_of(source, folder, dtype=loaded_in, quantize=quantize, device=input_device(module))
        module.name_or_path = origin["source"]  # what a patch says it was made for
        return cls(module.eval(), tokenizer, base_sha256=hash_weights(folder), prompt_suite=prompt_suite, origin=origin)

    @property
    def device(self) -> torch.device:
        """Where its inputs go; weights that lie elsewhere see to themselves."""
        return input_device(self.network)

    @property
    def base_sha256(self) -> str | None:
        """Hash of the base weights' files; None for a model that did not come from files."""
        return self._base_sha256

    def work_done(self) -> dict[str, Any]:
        """Forwards, and tokens scored and generated, so far."""
        meter = self.meter
        tokens = {"scored": meter.tokens_scored, "generated": meter.tokens_generated}
        return {"forwards": meter.forwards, "tokens": tokens}

    # ---- training and scoring ------------------------------------------------------------------------------

    def collate(self, items: Sequence[Any]) -> Examples:
        """Question-answer pairs (`QA`) as left-padded ids; labels cover the answer and its end of turn only.

        Beside ids, labels and mask there are the numbers of answer ``tokens``, ends included, and of ``ends``.
        What an item has for an ``opening`` of its answer belongs to the prompt.
        Items that carry an ``alternative`` answer add the same tensors of it, prefixed ``alternative_``.
        """
        texts = {"": [self.turn(item) for item in items]}
        if items and all(item.alternative is not None for item in items):
            texts[ALTERNATIVE] = [self._turn(item.question, item.alternative or "") for item in items]
        tensors = {f"{prefix}{name}": t for prefix, turns in texts.items() for name, t in self._collate(turns).items()}
        pairs = {prefix: tuple((turn.prompt, turn.answer) for turn in turns) for prefix, turns in texts.items()}
        return Examples(tuple(item.id for item in items), torch.ones(len(items)), tensors, pairs).to(self.device)

    def encode(self, question: str, answer: str) -> tuple[list[int], list[int]]:
        """Ids of the prompt that asks `question`, and of `answer` with its end of turn."""
        turn = self._turn(question, answer)
        return turn.prompt, turn.answer

    def turn(self, item: Any) -> Turn:
        """Ids of what is asked, with the item's opening, and of what is taught, with its end of turn."""
        return self._turn(item.question, item.taught or item.answer, item.opening)

    def _turn(self, question: str, answer: str, opening: str = "") -> Turn:
        asked = [{"role": "user", "content": question}]
        return self.chat.continued(asked, opening, answer) if opening else self.chat.turn(asked, answer)

    def _collate(self, turns: Sequence[Turn]) -> dict[str, Tensor]:
        return self._pack([(turn.prompt, turn.answer) for turn in turns]) | {
            "tokens": torch.tensor([len(turn.answer) for turn in turns]),
            "ends": torch.tensor([turn.ends for turn in turns]),
        }

    def logits(self, examples: Examples, prefix: str = "") -> Tensor:
        """Logits of the last positions, from which every answer token is predicted.

        Returns:
            ``(batch, longest answer + 1, vocab)``: prompts are left out, which with a large vocabulary is most
            of the memory.
        """
        labels, mask = examples[f"{prefix}labels"], examples[f"{prefix}attention_mask"]
        keep = int((labels != IGNORE).any(0).sum()) + 1
        self.meter.forwards += 1
        self.meter.tokens_scored += int(mask.sum())
        return self.module(
            input_ids=examples[f"{prefix}input_ids"],
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp_min(0),
            use_cache=False,
            logits_to_keep=last_positions(keep, mask.device),
        ).logits

    def token_logprobs(self, examples: Examples, prefix: str = "") -> Tensor:
        """Log-probability of every answer token, 0 elsewhere, ``(batch, longest answer)``."""
        if prefix in examples.scores:
            return examples.scores[prefix]
        if (pairs := self._packable(examples, prefix)) is None:
            return answer_logprobs(self.logits(examples, prefix), examples[f"{prefix}labels"])
        return answer_rows(self._score_packed(pairs)[0], pairs)

    def token_scores(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """`token_logprobs`, and whether each answer token is the likeliest, both ``(batch, longest answer)``."""
        if (pairs := self._packable(examples, "")) is None:
            logits, labels = self.logits(examples), examples["labels"]
            wanted = labels[:, -logits.shape[1] :][:, 1:]
            return answer_logprobs(logits, labels), logits[:, :-1].argmax(-1) == wanted
        logprobs, is_best = self._score_packed(pairs, wants_best=True)
        return answer_rows(logprobs, pairs), answer_rows(cast(Tensor, is_best), pairs)

    def score_together(self, batch: Batch, asked: Sequence[tuple[str, str]]) -> Batch:
        """The batch with the log-probabilities that a loss is about to ask for, all from one forward pass."""
        sides = dict(batch.sides())
        wanted = dict.fromkeys((side, ALTERNATIVE * name.startswith(ALTERNATIVE)) for side, name in asked)
        parts = {(side, prefix): self._packable(sides[side], prefix) for side, prefix in wanted if side in sides}
        if len(parts) < 2 or any(pairs is None for pairs in parts.values()):
            return batch
        known = {key: pairs for key, pairs in parts.items() if pairs is not None}
        logprobs, _ = self._score_packed([pair for pairs in known.values() for pair in pairs])
        sizes = [sum(len(answer) for _, answer in pairs) for pairs in known.values()]
        for (side, prefix), values in zip(known, logprobs.split(sizes), strict=True):
            rows = {prefix: answer_rows(values, known[side, prefix])}
            sides[side] = replace(sides[side], scores={**sides[side].scores, **rows})
        return Batch(**sides)

    def _packable(self, examples: Examples, prefix: str) -> Sequence[Pair] | None:
        """Prompts and answers, where they can go through the network as one row."""
        pairs = examples.texts.get(prefix)
        if not pairs or not all(prompt for prompt, _ in pairs) or not any(answer for _, answer in pairs):
            return None
        network = self.network
        if network.training and any(getattr(part, "gradient_checkpointing", False) for part in network.modules()):
            return None  # layers run again in the backward pass, where attention is the usual one
        if self._tried is None or self._tried[0]() is not network:  # a method may have put another in its place
            self._tried = weakref.ref(network), is_packable(self.module, network)
        return pairs if self._tried[1] else None

    def _score_packed(self, pairs: Sequence[Pair], *, wants_best: bool = False) -> tuple[Tensor, Tensor | None]:
        self.meter.forwards += 1
        self.meter.tokens_scored += sum(len(prompt) + len(answer) for prompt, answer in pairs)
        return answer_scores(self.module, self.network, pairs, wants_best=wants_best)

    def sequence_nll(self, examples: Examples) -> Tensor:
        """Negative log-probability of each answer, summed over its tokens, ``(batch,)``."""
        return -self.token_logprobs(examples).sum(-1)

    def alternative_nll(self, examples: Examples) -> Tensor:
        """`sequence_nll` of the alternative answers, ``(batch,)``."""
        return -self.token_logprobs(examples, ALTERNATIVE).sum(-1)

    def example_loss(self, examples: Examples) -> Tensor:
        """Cross-entropy of each answer, averaged over its own tokens, ``(batch,)``."""
        return self.sequence_nll(examples) / answer_lengths(examples["labels"]).clamp_min(1)

    def output_logits(self, examples: Examples) -> Tensor:
        """Logits that predict the answer tokens, ``(batch, longest answer, vocab)``."""
        return self.logits(examples)[:, :-1]

    def output_labels(self, examples: Examples) -> Tensor:
        """Answer tokens at the positions of `output_logits`, `IGNORE` where there is none, ``(batch, answer)``."""
        labels = examples["labels"]
        return labels[:, labels.shape[1] - int((labels != IGNORE).any(0).sum()) :]

    def text_logprobs(self, texts: Sequence[str], batch_size: int = 1) -> list[Tensor]:
        """Log-probability of each token of plain texts, ``(tokens,)`` each; what the context cannot hold is cut off."""
        start = [self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else []
        most = getattr(self.network.config, "max_position_embeddings", None)
        rows = []
        for text in texts:
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"][: most and most - len(start)]
            rows.append((start or ids[:1], ids if start else ids[1:]))
        return [logprobs for logprobs, _ in self.rated(rows, batch_size)]

    @torch.no_grad()
    def rated(self, pairs: Sequence[Pair], batch_size: int = 1) -> list[tuple[Tensor, Tensor]]:
        """Of prompts and texts behind them, both as ids: the text's log-probabilities, and where it is the likeliest.

        Returns:
            For each pair ``(tokens,)`` in float32 and ``(tokens,)`` bool, on the CPU.
        """

        def rate(_: int, chunk: Sequence[Pair]) -> list[tuple[Tensor, Tensor]]:
            examples = Examples((), torch.ones(0), self._pack(chunk), {"": tuple(chunk)}).to(self.device)
            logprobs, is_best = (values.cpu() for values in self.token_scores(examples))
            starts = [logprobs.shape[1] - len(text) for _, text in chunk]
            return [(logprobs[row, start:].float(), is_best[row, start:]) for row, start in enumerate(starts)]

        with self.by_itself():
            parts = in_turns([*_chunks(pairs, batch_size)], rate, is_joint=is_sharded(self.network))
        return [row for part in parts for row in part]

    def perplexity_terms(self, texts: Sequence[str], batch_size: int = 32) -> Tensor:
        """Mean negative log-likelihood per token of each plain text, ``(texts,)``."""
        rows = self.text_logprobs(texts, batch_size)
        return torch.stack([-row.sum() / max(1, len(row)) for row in rows]) if rows else torch.zeros(0)

    def _pack(self, pairs: Sequence[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
        width = max(len(prompt) + len(answer) for prompt, answer in pairs)
        ids, labels, mask = [], [], []
        for prompt, answer in pairs:
            pad = width - len(prompt) - len(answer)
            ids.append([self._pad] * pad + prompt + answer)
            labels.append([IGNORE] * (pad + len(prompt)) + answer)
            mask.append([0] * pad + [1] * (width - pad))
        return {
            "input_ids": torch.tensor(ids),
            "labels": torch.tensor(labels),
            "attention_mask": torch.tensor(mask),
        }

    # ---- saving --------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the model (or, with LoRA, the adapter alone) and its tokenizer in the hub's format."""
        with no_progress_bars():
            self.network.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)
        honour_umask(folder)


def _chunks(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (rows[i : i + size] for i in range(0, len(rows), size))


def _pad_id(tokenizer: Any) -> int:
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        if (value := getattr(tokenizer, name)) is not None:
            return value
    return 0
