"""Audits of language models: facts, asked in many phrasings and under attack."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from genunlearn.attacks.lm.base import FactAttack, Level, answered, asked, folded
from genunlearn.attacks.lm.completion import STATEMENTS
from genunlearn.attacks.lm.few_shot import NEAR
from genunlearn.attacks.lm.lessons import MEASURED
from genunlearn.attacks.lm.membership import AREA
from genunlearn.attacks.lm.other_questions import LANGUAGES, REVERSE, TWO_HOP
from genunlearn.attacks.lm.ranking import CANDIDATES
from genunlearn.config.lm import LMAuditConfig
from genunlearn.contracts import DECOYS, ORACLE, ORIGINAL, UNLEARNED, Beside, Splits
from genunlearn.contracts.family import Audit
from genunlearn.data.lm.benchmarks.base import pieces
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sharding import is_sharding_asked
from genunlearn.domains.sources import hash_weights
from genunlearn.engine.journal import FileJournal
from genunlearn.errors import ConfigError, DataError
from genunlearn.evaluation.lm.damage import what_fell
from genunlearn.evaluation.lm.probes import FactProbes
from genunlearn.ops.intervals import share
from genunlearn.ops.membership import privleak
from genunlearn.ops.verdicts import combined_p
from genunlearn.prompts import hash_prompts
from genunlearn.records import Result, hash_files
from genunlearn.registry import SUITES
from genunlearn.runs.lm.audit_decoys import NUM_CANDIDATES, find_candidates, make_decoys, pooled
from genunlearn.runs.lm.audit_models import is_patch, open_models, unlearned_place
from genunlearn.runs.lm.audit_phrasings import Phrasing, as_qa, beginnings, few_phrasings, find_phrasings
from genunlearn.runs.lm.audit_questions import questions_in_other_languages, reverse_questions, two_hop_questions
from genunlearn.runs.lm.request import (
    LMRequest,
    check_names,
    check_sources,
    is_lab,
    lab_name,
    model_folder,
    read_request,
)
from genunlearn.runs.lm.scope import make_scope
from genunlearn.runs.units import Units

SHOWN = 4
"""Answers of each attack that are kept for people to read."""

ALL = "all facts"
"""Group of what is said of all facts together."""

NO_DECOY = "no decoy can be made: no question names the subject, or no other answer is of the kind"


@dataclass(frozen=True)
class AuditedFact:
    """A fact that is said to be gone."""

    fact: Fact
    role: str = "forget"

    @property
    def label(self) -> str:
        """Its parts, as they are given on the command line."""
        return " | ".join(filter(None, (self.fact.subject, self.fact.relation, self.fact.object)))


class LMAudit(Audit[AuditedFact, LanguageModel]):
    """A language model that has unlearned, its original and an oracle."""

    counted: ClassVar[str] = "answers"
    shows: ClassVar[str] = "tells"
    panel: ClassVar[Sequence[Sequence[str]]] = (("sampling",), ("prefix_forcing",), ("relearning",), ("exposure",))
    config: LMAuditConfig

    # ---- before weights load ---------------------------------------------------------------------------------

    def subjects(self) -> Sequence[AuditedFact]:
        """The facts, once the models are found to be there."""
        if named := next((name for name in ("forget", "path") if getattr(self.config.request, name)), None):
            raise ConfigError(f"request.{named}: an audit asks for facts; name them in request.facts or request.file")
        if is_sharding_asked():
            raise ConfigError("an audit shares its attacks among processes and not weights: use multi_gpu.yaml instead")
        place = unlearned_place(self.config.unlearned)
        others = [*([] if is_patch(place) else [str(place)]), self.config.oracle]
        check_names(self.config, *others)
        self._request: LMRequest = read_request(self.config)
        check_sources(self.config, *others)
        return [AuditedFact(fact) for fact in self._request.facts]

    @override
    def about(self, subjects: Sequence[AuditedFact]) -> Sequence[object]:
        return [self._request.sha256, *self._request.neutral, hash_prompts()]

    @override
    def weights(self) -> Mapping[str, str]:
        sources = {ORIGINAL: self.config.model.source, ORACLE: self.config.oracle}
        return {
            role: hash_weights(model_folder(self.config, source))
            for role, source in sources.items()
            if source not in ("auto", "never")
        }

    # ---- models and data -------------------------------------------------------------------------------------

    def open(self, forgotten: Sequence[str]) -> Mapping[str, LanguageModel]:
        """Original, unlearned model and, where there is one, oracle; decoys are asked of the unlearned model."""
        models = open_models(self.config, [fact.id for fact in self._request.facts])
        wanted = self.config.evaluate.decoys
        self._num_decoys = (0 if ORACLE in models else 2) if wanted is None else wanted
        if not self._num_decoys:
            return models
        self.uncontrolled = (
            "no oracle, a model that never knew what should be gone, went through the attacks: the control are decoys, "
            "facts about invented subjects; what can be inferred from other facts counts as known"
        )
        return {**models, DECOYS: models[UNLEARNED]}

    def begin(self, models: Mapping[str, LanguageModel], units: Units, folder: Path) -> None:
        """Take the models and find the phrasings.

        Raises:
            DataError: The original does not know a fact to begin with.
        """
        self._models, self._units = models, units
        self._beside: Beside[LanguageModel] = Beside(
            lambda: models[ORIGINAL], (lambda: [models[ORACLE]]) if ORACLE in models else None
        )
        self._journal = FileJournal(units.shared, units.watch)  # what the original writes serves other audits too
        self._scope = scope = make_scope(self._request, models[ORIGINAL], self.config, self._journal)
        self._phrasings = {fact.id: self._find(fact) for fact in scope.facts}
        self._splits = {fact.id: self._splits_of(fact) for fact in scope.facts}
        self._decoys = {
            name: make_decoys(splits, models[ORIGINAL], self._num_decoys, self.config.seed)
            for name, splits in self._splits.items()
            if DECOYS in models
        }

    def _find(self, fact: Fact) -> list[Phrasing]:
        count, original = self.config.evaluate.phrasings, self._models[ORIGINAL]
        rows = self._journal.stage(
            f"{fact.id}, phrasings", lambda: [asdict(one) for one in find_phrasings(fact, original, count)]
        )
        if not rows:
            raise DataError(
                f"{AuditedFact(fact).label}: the original does not tell it in any phrasing, so there is nothing to "
                "audit; name a fact that it knows, or give its question"
            )
        return [Phrasing(**row) for row in rows]

    def _splits_of(self, fact: Fact) -> Splits[Scope]:
        """The scope of one fact alone; nothing around it is another audited fact."""
        gone = {each.id for each in self._scope.facts}
        around, statements, kind, two_hops = self._around(fact)
        measured: dict[str, Sequence[QA]] = {
            "forget": [as_qa(fact, question, "forget") for question in fact.phrasings],
            "forget_heldout": [as_qa(fact, each.question) for each in self._phrasings[fact.id]],
        }
        if begun := beginnings(fact, statements):
            measured[STATEMENTS] = begun
        if kind:
            measured[CANDIDATES] = [QA(id=name, question="", answer=f"{name}.") for name in kind]
        texts, forgotten = MEASURED["unrelated_text"], MEASURED["forgotten"]
        measured[texts] = pieces(self._request.neutral, texts, texts)
        others = [other for other in self._scope.facts if other.id != fact.id]
        measured[forgotten] = [as_qa(other, question, forgotten) for other in others for question in other.phrasings]
        measured |= self._further(fact, statements, two_hops)
        retain = tuple(item for item in around if item.fact not in gone)
        scope = Scope(facts=(fact,), retain=retain, measured=measured)
        return Splits(forget=measured["forget"], retain=retain, context=scope)

    def _further(self, fact: Fact, statements: Sequence[str], two_hops: Sequence[QA]) -> dict[str, Sequence[QA]]:
        """Further questions for the attacks that ask them."""
        original, count = self._models[ORIGINAL], self.config.evaluate.phrasings
        find: dict[str, tuple[str, Callable[[], list[QA]]]] = {
            "reverse": (REVERSE, lambda: reverse_questions(fact, original, statements, count)),
            "two_hop": (TWO_HOP, lambda: two_hop_questions(fact, original, two_hops, count)),
            "other_languages": (LANGUAGES, lambda: questions_in_other_languages(fact, original, count)),
        }
        found: dict[str, Sequence[QA]] = {}
        for attack, (group, ask) in find.items():
            if attack in self.config.attacks:
                rows = self._journal.stage(f"{fact.id}, {attack}", partial(_as_rows, ask))
                found[group] = [QA(**row | {"aliases": tuple(row["aliases"])}) for row in rows]
        return {group: items for group, items in found.items() if items}

    def _around(self, fact: Fact) -> tuple[Sequence[QA], Sequence[str], Sequence[str], Sequence[QA]]:
        """Questions that stay; statements, other objects of the type, two-step questions where the lab has some."""
        if not is_lab(self.config):
            count, near = NUM_CANDIDATES, [item.question for item in self._scope.retain if item.group == NEAR]
            ask = partial(find_candidates, fact, self._models[ORIGINAL], near, count)
            return self._scope.retain, (), self._journal.stage(f"{fact.id}, candidates", ask), ()
        from genunlearn.lab.lm.world_facts import world_of

        world = world_of(lab_name(self.config))
        scope, triple = world.scope([fact]), world.triple(fact.id)
        two_hops = scope.measured.get(TWO_HOP, ())
        return scope.retain, world.statements(triple), world.wrong_answers(fact), two_hops

    @override
    def remarks(self) -> Sequence[str]:
        wanted = self.config.evaluate.phrasings
        asked_of = {fact: len(self._phrasings[fact.id]) for fact in self._scope.facts}
        return [few_phrasings(AuditedFact(fact).label, n, wanted) for fact, n in asked_of.items() if n < wanted]

    # ---- what must stay --------------------------------------------------------------------------------------

    def stayed(self) -> list[Result]:
        """Results of the suite on every model, of all groups but what should be gone."""
        found = self._kept()
        return [Result(**row) for value in found.values() for row in value["results"]]

    def damage(self, target: str = UNLEARNED) -> str | None:
        """What is told far less often than by the original."""
        found = self._kept()
        return what_fell(found[ORIGINAL]["told"], found[target]["told"], self.config.evaluate.max_retain_loss)

    def _kept(self) -> dict[str, Any]:
        kept = {group: items for group, items in self._scope.measured.items() if not group.startswith("forget")}

        def measure(target: str) -> dict[str, Any]:
            probes = FactProbes(
                self._models[target], kept, neutral=self._request.neutral, batch_size=self.config.evaluate.batch_size
            )
            rows = SUITES.get(self.config.evaluate.suite, "lm").measure(probes, target)
            return {"results": [asdict(row) for row in rows], "told": probes.is_told}

        units = {target: f"what must stay/{target}" for target in self._models if target != DECOYS}
        done = self._units.do("what must stay", [(name, partial(measure, target)) for target, name in units.items()])
        return {target: done[name] for target, name in units.items()}

    # ---- asking and attacking --------------------------------------------------------------------------------

    def plain(self, subject: AuditedFact, target: str, look: int = 0) -> dict[str, Any]:
        """How many phrasings one model answers with the truth."""
        splits = self._attacked(subject, target)
        if not splits:
            return {"skipped": NO_DECOY}
        return _found(answered(self._models[target], [item for each in splits for item in asked(each)]))

    @override
    def attempt(self, subject: AuditedFact, attack: FactAttack, target: str, look: int = 0) -> dict[str, Any]:
        model, splits = self._model(target, attack), self._attacked(subject, target)
        if target == DECOYS and not attack.decides:
            return {"skipped": "it recovers nothing from the model as it is handed on, and needs no control"}
        reasons = (attack.lacking(model, each, self._beside) for each in splits)
        if reason := next(filter(None, reasons), None if splits else NO_DECOY):
            return {"skipped": reason}
        begun = time.monotonic()
        attempts = [attack.attempt(model, each, self._beside) for each in splits]
        attempt = attempts[0] if target != DECOYS else pooled(attempts)
        place = f"{subject.label}, {attack.name}"
        rows = [_asr(target, level, place) for level in attempt.levels]
        if target != DECOYS or attempt.details:
            further = attack.further(attempt, target)
            rows += [replace(row, group=", ".join(filter(None, (place, row.group)))) for row in further]
        return {
            **_found(*attempt.levels),
            "results": [asdict(row) for row in rows],
            "seconds": round(time.monotonic() - begun, 2),
            "details": dict(attempt.details),
        }

    def overall(self, results: Sequence[Result]) -> list[Result]:
        """PrivLeak of every membership score, and the p-value of exposure over all facts, taken as independent."""
        rows = _privleaks([result for result in results if result.name == AREA], ORACLE in self._models)
        for target in self._models:
            found = [r.value for r in results if (r.name, r.target) == ("exposure_p", target) and r.value is not None]
            if len(found) > 1:
                p = combined_p(found)
                row = Result(name="exposure_p", target=target, group=ALL, value=p, n=len(found))
                rows.append(row)
        return rows

    def _model(self, target: str, attack: FactAttack) -> LanguageModel:
        """The model that is attacked: most attacks see no difference between a LoRA and its sum with the weights."""
        unlearned = target in (UNLEARNED, DECOYS)
        return self._folded if unlearned and not attack.wants_lora else self._models[target]

    @cached_property
    def _folded(self) -> LanguageModel:
        return folded(self._models[UNLEARNED])

    def _attacked(self, subject: AuditedFact, target: str) -> Sequence[Splits[Scope]]:
        """What is asked of a target: the fact, or its decoys."""
        return self._decoys[subject.fact.id] if target == DECOYS else (self._splits[subject.fact.id],)

    def examples(self, subject: AuditedFact, attack: str, strengths: Sequence[str]) -> list[dict[str, Any]]:
        """What the models answered, a row a question; those that the unlearned model tells come first."""
        asked_alike = [name for name in self._models if name != DECOYS]
        values = {name: self._units.value(self._unit(subject, attack, name)) for name in asked_alike}
        rows = []
        for place, strength in enumerate(strengths):
            seen = {name: value["answers"][place] for name, value in values.items() if "answers" in value}
            if UNLEARNED not in seen:
                continue
            order = sorted(range(len(seen[UNLEARNED])), key=lambda number: not seen[UNLEARNED][number]["told"])
            what = ", ".join(filter(None, (attack, strength)))
            for number in order[:SHOWN]:
                row: dict[str, Any] = {"group": "answers", "concept": subject.label, "set": what, "number": number}
                row["question"] = seen[UNLEARNED][number]["question"]
                row |= {name: answers[number]["text"] for name, answers in seen.items()}
                rows.append(row | {"tells": {name: answers[number]["told"] for name, answers in seen.items()}})
        return rows

    # ---- what is written -------------------------------------------------------------------------------------

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Models, facts and numbers of phrasings by origin; hashes of weights and patch."""
        facts = {AuditedFact(fact).label: fact for fact in self._scope.facts}
        origins = {label: Counter(one.origin for one in self._phrasings[fact.id]) for label, fact in facts.items()}
        said: dict[str, Any] = {
            "original": self.config.model.source,
            "unlearned": self.config.unlearned,
            "oracle": self.config.oracle,
            "concepts": list(facts),
            "questions": sum(len(asked(self._splits[fact.id])) for fact in facts.values()),
            "facts": [asdict(fact) for fact in facts.values()],
            "phrasings": {label: dict(counts) for label, counts in origins.items()},
        }
        if DECOYS in self._models:
            of = {label: [each.context for each in self._decoys[fact.id]] for label, fact in facts.items()}
            said["decoys"] = {
                label: [AuditedFact(fact).label for scope in scopes if scope for fact in scope.facts]
                for label, scopes in of.items()
            }
        hashes: dict[str, Any] = {name: model.base_sha256 for name, model in self._models.items() if name != DECOYS}
        if is_patch(place := unlearned_place(self.config.unlearned)):
            files = ("adapter_model.safetensors", "adapter_config.json")
            hashes["patch"] = hash_files([Path(place) / name for name in files])
        return said, {**hashes, "request": self._request.sha256}

    def forwards(self) -> Mapping[str, int]:
        """Forward passes of scoring and tokens that were generated, of each model."""
        return {
            name: model.meter.forwards + model.meter.tokens_generated
            for name, model in self._models.items()
            if name != DECOYS
        }

    # ---- parts -----------------------------------------------------------------------------------------------

    def _unit(self, subject: AuditedFact, attack: str, target: str) -> str:
        return f"{subject.label}/{attack}/{target}"


def _as_rows(ask: Callable[[], Sequence[QA]]) -> list[dict[str, Any]]:
    return [asdict(item) for item in ask()]


def _found(*levels: Level) -> dict[str, Any]:
    """What a unit says of its levels, their answers included."""
    answers = [
        [
            {"question": question, "text": text, "told": told}
            for question, text, told in zip(level.questions, level.texts, level.told, strict=True)
        ]
        for level in levels
    ]
    hits = [sum(level.told) for level in levels]
    return {
        "strengths": [level.strength for level in levels],
        "hits": hits,
        "n": len(levels[0].told),
        "answers": answers,
    }


def _asr(target: str, level: Level, place: str) -> Result:
    value, low, high = share(sum(level.told), len(level.told))
    group = ", ".join(filter(None, (place, level.strength)))
    return Result(name="asr", target=target, value=value, low=low, high=high, n=len(level.told), group=group)


def _privleaks(areas: Sequence[Result], has_oracle: bool) -> list[Result]:
    """PrivLeak of the unlearned model and the original beside the oracle's area, 0.5 where there is none."""
    controls = {row.group: row.value for row in areas if row.target == ORACLE}
    rows = []
    for row in areas:
        control = controls.get(row.group) if has_oracle else 0.5
        if row.target == ORACLE or row.value is None:
            continue
        blank = replace(row, name="privleak", value=None, low=None, high=None)
        if control is None or control >= 1:
            why = "the oracle is no control of this score" if control is None else "the oracle's area is 1"
            rows.append(replace(blank, skipped=why))
            continue
        ends = [privleak(end, control) for end in (row.value, row.high, row.low) if end is not None]
        rows.append(replace(blank, value=ends[0], low=ends[1], high=ends[2]))
    return rows
