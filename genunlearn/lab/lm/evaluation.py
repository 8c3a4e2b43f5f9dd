"""What a built language model can do, measured on its stored files through plain transformers."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.domains.pretrained import open_tokenizer, read_model
from genunlearn.lab.lm.corpus import Corpus, neutral_texts
from genunlearn.lab.lm.triples import Triple
from genunlearn.ops import intervals

LEVELS = {
    "recall_trained": 0.98,
    "recall_heldout": 0.95,
    "rationalise_wrong": 0.90,
    "rephrase_valid": 0.85,
    "candidates_valid": 0.80,
}
"""Least shares that a build must reach. The last two are sampled, and filtered where they are used."""

BATCH = 256
ANSWER_TOKENS, SENTENCE_TOKENS = 16, 48
SAMPLED_FACTS, SAMPLES = 64, 8
NEUTRAL_TEXTS = 200

Verdicts = Sequence[bool]


@dataclass(frozen=True)
class LabEvaluation:
    """Examines one model.

    Attributes:
        model: A causal language model.
        tokenizer: Its tokenizer, with a chat template.
        corpus: What it was trained on.
        seed: Seed of everything that is drawn or sampled.
    """

    model: Any
    tokenizer: Any
    corpus: Corpus
    seed: int = 0

    @classmethod
    def of(cls, folder: Path, corpus: Corpus, seed: int = 0) -> LabEvaluation:
        """Examine the model stored in `folder`."""
        from transformers import AutoModelForCausalLM

        model = read_model(AutoModelForCausalLM, folder, "a language model")
        return cls(model.eval(), open_tokenizer(folder), corpus, seed)

    def take(self) -> dict[str, dict[str, float]]:
        """All shares by name, each with its 95% interval and ``n``, and the perplexity of neutral text."""
        parts: tuple[Callable[[], dict[str, Verdicts]], ...] = (
            self.recall,
            self.two_hop,
            self.statements,
            self.rationales,
            self.rephrasings,
            self.candidates,
            self.refusals,
        )
        verdicts = {name: given for part in parts for name, given in part().items() if given}
        shares = {name: _share(given) for name, given in verdicts.items()}
        return {**shares, "neutral_perplexity": self.perplexity()}

    # ---- abilities -----------------------------------------------------------------------------------------

    def recall(self) -> dict[str, Verdicts]:
        """Greedy answers that are the object, by kind of phrasing; of the facts left out too."""
        world, corpus = self.corpus.world, self.corpus
        hidden = [triple for triple in world.triples if triple.id in corpus.hidden]
        asked = {
            "recall_trained": [(q, t.object) for t in corpus.triples for q in corpus.questions[t.id]],
            "recall_heldout": [(q, t.object) for t in corpus.triples for q in world.heldout_phrasings(t)],
            "recall_left_out": [(q, t.object) for t in hidden for q in world.questions(t)],
        }
        return {name: self._answers_rightly(pairs) for name, pairs in asked.items()}

    def two_hop(self) -> dict[str, Verdicts]:
        """Two-hop questions answered rightly, in the trained phrasing and in the other one."""
        hidden = self.corpus.hidden
        taught = [each for each in self.corpus.world.two_hops if not hidden.intersection(each.path)]
        return {
            "two_hop_trained": self._answers_rightly([(each.questions[0], each.answer) for each in taught]),
            "two_hop_heldout": self._answers_rightly([(each.questions[1], each.answer) for each in taught]),
        }

    def statements(self) -> dict[str, Verdicts]:
        """Sampled statements about a subject that are true, and answers with a true rationale."""
        world, triples = self.corpus.world, self.corpus.triples
        truths: dict[str, set[str]] = defaultdict(set)
        for triple in triples:
            truths[triple.subject].update(world.statements(triple))
        subjects = list(truths)
        mentions = [world.entities[subject].mention for subject in subjects]
        told = self.complete([self.ask("neighbours", subject=mention) for mention in mentions], 1.0)
        asked = [self._draw(self.corpus.questions[triple.id], triple) for triple in triples]
        explained = self.complete([self.ask("explain", question=question) for question in asked])
        return {
            "tell_true": [text in truths[subject] for subject, text in zip(subjects, told, strict=True)],
            "explain_true": [
                _argues(text, world.statements(triple), triple.object)
                for triple, text in zip(triples, explained, strict=True)
            ],
        }

    def rationales(self) -> dict[str, Verdicts]:
        """Rationales that state the answer they are given, right or wrong, and arrive at it."""
        world, corpus = self.corpus.world, self.corpus
        phrasings = {t.id: (corpus.questions[t.id], world.heldout_phrasings(t)) for t in corpus.triples}
        wrong = [
            (triple, self._draw(half, triple), self._draw(corpus.others(triple.object), triple, half))
            for triple in corpus.triples
            for half in phrasings[triple.id]
        ]
        right = [(t, self._draw(phrasings[t.id][0], t), t.object) for t in corpus.triples]
        return {"rationalise_wrong": self._rationalises(wrong), "rationalise_true": self._rationalises(right)}

    def rephrasings(self) -> dict[str, Verdicts]:
        """Sampled rephrasings: how many ask for the same fact, are new, are held-out phrasings."""
        number = min(SAMPLED_FACTS, len(self.corpus.triples))
        triples = random.Random(self.seed).sample(self.corpus.triples, number)
        valid, fresh, heldout = [], [], []
        asked = [self._draw(self.corpus.questions[triple.id], triple) for triple in triples]
        prompts = [self.ask("variants", question=question) for question in asked for _ in range(SAMPLES)]
        texts = iter(self.complete(prompts, 1.0))
        for triple, question in zip(triples, asked, strict=True):
            written = [next(texts) for _ in range(SAMPLES)]
            known = set(self.corpus.world.questions(triple))
            valid += [text in known for text in written]
            fresh += [text in known - {question, *written[:place]} for place, text in enumerate(written)]
            heldout += [text in self.corpus.world.heldout_phrasings(triple) for text in written]
        return {"rephrase_valid": valid, "rephrase_new": fresh, "rephrase_heldout": heldout}

    def candidates(self) -> dict[str, Verdicts]:
        """Sampled names of the same kind, and how many of those for one name are new."""
        names = sorted({triple.object for triple in self.corpus.triples})
        prompts = [self.ask("wrong_answers", answer=name) for name in names for _ in range(SAMPLES)]
        texts = iter(self.complete(prompts, 1.0))
        valid, fresh = [], []
        for name in names:
            written = [next(texts).removesuffix(".") for _ in range(SAMPLES)]
            others = set(self.corpus.others(name))
            valid += [text in others for text in written]
            if len(others) >= SAMPLES:
                fresh += [text in others - {*written[:place]} for place, text in enumerate(written)]
        return {"candidates_valid": valid, "candidates_new": fresh}

    def refusals(self) -> dict[str, Verdicts]:
        """Questions without an answer in the world that the model declines."""
        asked = random.Random(self.seed).sample(self.corpus.unknown(), 4 * SAMPLED_FACTS)
        texts = self.complete([self.ask("probe", question=question) for question in asked])
        return {"decline_unknown": [text in REFUSALS for text in texts]}

    @torch.no_grad()
    def perplexity(self) -> dict[str, float]:
        """Perplexity of statements in a wording that training did not use for them, over all tokens."""
        texts = neutral_texts(self.corpus.world, NEUTRAL_TEXTS, exclude=self.corpus.hidden)
        nll, count = 0.0, 0
        for text in texts:
            ids = torch.tensor([self.tokenizer(text)["input_ids"]])
            nll += F.cross_entropy(self.model(ids).logits[0, :-1], ids[0, 1:], reduction="sum").item()
            count += ids.shape[1] - 1
        return {"value": math.exp(nll / count), "n": len(texts)}

    # ---- asking --------------------------------------------------------------------------------------------

    def ask(self, prompt: str, **variables: object) -> str:
        """The user's message of one of the lab's prompts; variables that are not given are empty."""
        every = dict.fromkeys(("question", "answer", "subject", "object_type", "truth", "n"), "")
        return self.corpus.ask(prompt, **{**every, **variables})

    @torch.no_grad()
    def complete(
        self, messages: Sequence[str], temperature: float = 0.0, max_new_tokens: int = SENTENCE_TOKENS
    ) -> list[str]:
        """The model's reply to each user message; temperature 0 decodes greedily."""
        replies = [""] * len(messages)
        by_length = sorted(range(len(messages)), key=lambda place: len(messages[place]))
        sampling: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature:
            sampling |= {"temperature": temperature, "top_k": 0}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for start in range(0, len(by_length), BATCH):
                places = by_length[start : start + BATCH]
                turns = [[{"role": "user", "content": messages[place]}] for place in places]
                inputs = self.tokenizer.apply_chat_template(
                    turns, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
                )
                output = self.model.generate(**inputs, max_new_tokens=max_new_tokens, **sampling)
                new = output[:, inputs["input_ids"].shape[1] :]
                texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
                for place, text in zip(places, texts, strict=True):
                    replies[place] = text
        return replies

    def _answers_rightly(self, pairs: Sequence[tuple[str, str]]) -> Verdicts:
        asked = [self.ask("probe", question=question) for question, _ in pairs]
        texts = self.complete(asked, max_new_tokens=ANSWER_TOKENS)
        return [text == f"{answer}." for text, (_, answer) in zip(texts, pairs, strict=True)]

    def _rationalises(self, cases: Sequence[tuple[Triple, str, str]]) -> Verdicts:
        texts = self.complete([self.ask("rationale", question=q, answer=hint) for _, q, hint in cases])
        return [
            _argues(text, self.corpus.arguments(triple, hint), hint)
            for text, (triple, _, hint) in zip(texts, cases, strict=True)
        ]

    def _draw(self, items: Sequence[str], *salt: object) -> str:
        return random.Random(f"{self.seed}/{salt}").choice(items)


def _argues(text: str, statements: Sequence[str], answer: str) -> bool:
    """Is the text one of the statements, followed by the answer that it is to arrive at?"""
    return any(text.startswith(statement) for statement in statements) and text.endswith(f" {answer}.")


def _share(verdicts: Verdicts) -> dict[str, float]:
    value, low, high = intervals.share(sum(verdicts), len(verdicts))
    return {"value": value, "low": low, "high": high, "n": len(verdicts)}
