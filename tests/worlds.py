"""Little worlds, one for each domain: a model that knows something, what it is to forget and what it is to keep.

A new domain adds one entry to `WORLDS`, and every test that runs over them covers it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.contracts import Batch, Splits
from genunlearn.data.facts import QA, Fact, Scope
from genunlearn.domains.lm import LanguageModel
from tests.tiny_models import TAUGHT, build, teach


@dataclass(frozen=True)
class World:
    """A model with its data.

    Attributes:
        open: Gives the model, freshly loaded.
        splits: What to forget and what to keep; items of different lengths.
    """

    open: Callable[[], Any]
    splits: Splits

    def batch(self, model: Any, splits: Splits | None = None) -> Batch:
        """All items in one batch."""
        splits = splits or self.splits
        return Batch(model.collate(splits.forget), model.collate(splits.retain))


def language_model(folder: Path) -> World:
    """A tiny Llama that knows what `TAUGHT` says."""
    teach(build("llama", folder / "llama"), TAUGHT)
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
    splits = Splits(forget=forget, retain=retain, context=scope)
    return World(lambda: LanguageModel.load(str(folder / "llama"), device="cpu", prompt_suite="lab"), splits)


WORLDS: dict[str, Callable[[Path], World]] = {"lm": language_model}
