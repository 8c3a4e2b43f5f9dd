"""Little worlds, one for each domain: a model that knows something, what it is to forget and what it is to keep.

A new domain adds one entry to `WORLDS`, and every test that runs over them covers it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genunlearn.contracts import Batch, Splits
from genunlearn.data.facts import QA, Fact, Scope
from genunlearn.domains.lm import LanguageModel
from genunlearn.records import write_jsonl
from tests.tiny_models import TAUGHT, build, teach


@dataclass(frozen=True)
class World:
    """A model with its data.

    Attributes:
        open: Gives the model, freshly loaded.
        splits: What to forget and what to keep; items of different lengths.
        options: ``(method, folder) -> fields`` that a method needs in so small a world, files written to `folder`.
    """

    open: Callable[[], Any]
    splits: Splits
    options: Callable[[str, Path], dict[str, Any]]

    def batch(self, model: Any, splits: Splits | None = None) -> Batch:
        """All items in one batch."""
        splits = splits or self.splits
        return Batch(model.collate(splits.forget), model.collate(splits.retain))

    def forget_loss(self, model: Any) -> float:
        """Mean training loss of what is to be forgotten."""
        with torch.no_grad():
            return model.example_loss(model.collate(self.splits.forget)).mean().item()


def language_model(folder: Path) -> World:
    """A tiny Llama that knows what `TAUGHT` says."""
    teach(build("llama", folder / "llama"), TAUGHT)
    return World(
        open=lambda: LanguageModel.load(str(folder / "llama"), device="cpu", prompt_suite="lab"),
        splits=lm_splits(),
        options=lm_options,
    )


def lm_splits() -> Splits:
    """Two phrasings of one fact to forget, three others to keep."""
    facts = (
        Fact(
            id="potter",
            subject="Harry Potter",
            object="Hogwarts",
            question=TAUGHT[0][0],
            paraphrases=(TAUGHT[1][0],),
        ),
    )
    items = [QA(id=f"q{n}", question=q, answer=a, fact="potter") for n, (q, a) in enumerate(TAUGHT)]
    forget, retain = items[:2], items[2:]
    scope = Scope(facts=facts, retain=tuple(retain), measured={"forget": forget, "rest": retain})
    return Splits(forget=forget, retain=retain, context=scope)


def lm_options(method: str, folder: Path) -> dict[str, Any]:
    """A tiny model writes no anti-samples of its own: UnSTAR gets reviewed ones."""
    if method != "unstar":
        return {}
    path = folder / "reviewed.jsonl"
    rows = [
        {"fact": "potter", "question": question, "text": "Goethe.", "wrong_answer": "Goethe"}
        for question, _ in TAUGHT[:2]
    ]
    write_jsonl(path, rows)
    return {"antisamples": str(path), "steps_per_round": 4}


WORLDS: dict[str, Callable[[Path], World]] = {"lm": language_model}
