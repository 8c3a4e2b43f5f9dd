"""Requests that follow each other: the patch of the earlier ones stays on, and their facts are asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from genunlearn.data.lm.facts import EARLIER, FORGET_GROUPS, QA, Fact, Scope
from genunlearn.data.lm.requests import asks_for
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sharding import refuse_sharded
from genunlearn.engine import parameters
from genunlearn.engine.patches import put_on, stack
from genunlearn.errors import DataError, SourceNotFound
from genunlearn.records import COMPLETED, read_record
from genunlearn.runs.lm.audit_models import is_patch, unlearned_place

KEYS = {field.name for field in fields(Fact)}


@dataclass(frozen=True)
class Earlier:
    """What came before a request.

    Attributes:
        facts: Facts of all earlier requests, the first one's first.
        patch: The patch that does what they asked for, on the base.
    """

    facts: tuple[Fact, ...]
    patch: Path

    def fold_into(self, model: LanguageModel) -> LanguageModel:
        """The base as the earlier requests have left it; its name and hash stay those of the base.

        Raises:
            NeedNotMet: The weights are cut over several processes.
        """
        refuse_sharded(model.network, "on")
        put_on(model, [self.patch])
        model.module = model.network.merge_and_unload().eval()
        return model

    def save_with(self, model: LanguageModel, base: LanguageModel, folder: Path) -> str:
        """Write one patch for the base that does what the earlier requests and this one asked for; returns its hash."""
        with TemporaryDirectory(dir=folder.parent, prefix=".own-") as own:
            parameters.save_patch(model, Path(own))
            return stack(base, [self.patch, Path(own)], folder)


def read_earlier(run: str) -> Earlier:
    """The requests that a finished run stands for: its own, and those that it followed itself.

    Raises:
        SourceNotFound: There is no run, or it has left no patch.
        DataError: It has not ended, or was not asked to forget facts.
    """
    record = read_record(run)
    if record.status != COMPLETED:
        raise DataError(f"on = {run!r}: the run there is {record.status}; finish it first")
    place = unlearned_place(run)
    if isinstance(place, str) or not is_patch(place):
        raise SourceNotFound(f"on = {run!r}: the run there has left no patch (a whole model goes as model.source)")
    rows = [*(record.request.get("earlier") or ()), *(record.request.get("facts") or ())]
    try:
        facts = tuple(Fact(**{key: _frozen(row[key]) for key in KEYS & row.keys()}) for row in rows)
    except (TypeError, AttributeError):
        facts = ()
    if not facts:
        raise DataError(f"on = {run!r}: its record holds no facts; only requests of facts follow each other")
    return Earlier(facts, place)


def with_earlier(scope: Scope, earlier: Sequence[Fact]) -> Scope:
    """The scope, in which the facts of earlier requests need not stay any more and are asked again."""
    gone = {fact.id for fact in earlier}

    def stays(item: QA) -> bool:
        return item.fact not in gone and not any(asks_for(item, fact) for fact in earlier)

    measured = {
        group: [item for item in items if (item.fact not in gone if group in FORGET_GROUPS else stays(item))]
        for group, items in scope.measured.items()
    }
    asked = [
        QA(id=f"{fact.id}/earlier{n}", question=text, answer=f"{fact.object}.", aliases=fact.aliases, fact=fact.id,
           group=EARLIER)
        for fact in earlier
        for n, text in enumerate(fact.heldout or fact.phrasings)
    ]  # fmt: skip
    own = tuple(fact for fact in scope.facts if fact.id not in gone)
    return Scope(facts=own, retain=tuple(filter(stays, scope.retain)), measured={**measured, EARLIER: asked})


def rows_of(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    """Facts as plain JSON data."""
    return [asdict(fact) for fact in facts]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
