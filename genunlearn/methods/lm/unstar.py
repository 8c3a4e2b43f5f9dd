"""UnSTAR: the model writes its own anti-samples and is trained on them until it no longer tells the fact.

    repeat: probe every question variant; for each one still answered with the truth, let the model argue for a wrong
    answer (a misleading rationale, given the wrong answer as a hint); train on variant -> rationale and wrong answer,
    beside scope neighbours -> their right answers; add harder variants, written by the model as it is by then.
    Ends when every variant is forgotten in two probes running, the second with variants that were drawn since.

Source: Sinha, Mandal, Kankanhalli, "UnSTAR: Unlearning with Self-Taught Anti-Sample Reasoning for LLMs" (TMLR 2025),
Algorithm 1.
Deviations: the retain pass, under-specified in the paper, runs on scope neighbours (`retain`); a variant is forgotten
when its answer is no longer true, where Algorithm 1 asks for the wrong answer (`stop`); harder variants may wait until
none is told (`harder_when`); the LoRA stays apart from the weights, where the authors' code folds it in every round
(`merge_each_round`); a floor under the neighbours' recall: a round that falls below it goes on for as many steps again,
then is done anew with half the steps and twice the weight of the retain pass, and where that does not help either the
run ends with the weights of before the round. So that what is forgotten does not come back at the first attempt, three
options that the paper does not have, off by default: rounds after the last (`further_rounds`), and anti-samples learnt
at weights nearby (`rho`), where they are hardest, as in sharpness-aware minimisation (Fan et al., ICML 2025), or where
a step of relearning has led (`nearby`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import partial
from itertools import chain, cycle, islice
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import (
    ADVICE,
    STRICT,
    Batch,
    Examples,
    Journal,
    Needs,
    Objective,
    Outcome,
    Protocol,
    Reference,
    Splits,
    Term,
    Terms,
    Train,
    floor_of,
    with_sides,
)
from genunlearn.data.answers.leak import leak
from genunlearn.data.lm.antisamples import AntiSample, read_antisamples
from genunlearn.data.lm.critic import Critic
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.lm.own_words import with_another
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.data.lm.telling import evenly, recall, tells
from genunlearn.data.lm.writer import Writer
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import NeedNotMet
from genunlearn.methods.lm.base.nearby import uphill
from genunlearn.methods.lm.base.objectives import refuse_several_processes
from genunlearn.methods.lm.base.subjects import siblings_of

Nearby = Literal["worst", "relearnt"]
NEARBY = "where: the anti-samples are hardest, or the truth has been taught again"
RHO = "how far from the weights anti-samples are learnt"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AntiSampleTuning(Objective[LanguageModel]):
    """Cross-entropy on anti-samples and, beside them, on what must stay."""

    name: ClassVar[str] = "anti_sample_tuning"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    equation: ClassVar[str] = "CE(anti-samples; theta + rho g / |g|) + alpha CE(R)"

    alpha: Annotated[float, Field(ge=0, description="weight of the retain pass")] = 1.0
    rho: Annotated[float, Field(ge=0, description=RHO)] = 0.0
    nearby: Annotated[Nearby, Field(description=NEARBY)] = "worst"

    def loss(self, batch: Batch, model: LanguageModel, reference: Reference) -> Terms:
        """Two terms, ``anti`` and ``retain``.

        Raises:
            NeedNotMet: Several processes share the model, and `rho` is above 0.
        """
        terms = {}
        if batch.forget is not None:
            terms["anti"] = Term.of(self._anti(batch.forget, model), batch.forget, "forget", 1.0)
        if batch.retain is not None:
            terms["retain"] = Term.of(model.example_loss(batch.retain), batch.retain, "retain", self.alpha)
        return terms

    def _anti(self, examples: Examples, model: LanguageModel) -> Tensor:
        """The loss of each anti-sample, ``(batch,)``; away from the weights that there are where `rho` says so."""
        if not self.rho:
            return model.example_loss(examples)
        refuse_several_processes(self, model)
        examples = examples.padded()
        hard = model.example_loss(examples) if self.nearby == "worst" else -model.alternative_nll(examples)
        with uphill(model, (hard * examples.weight).sum(), self.rho):
            return model.example_loss(examples)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class UnSTAR(Protocol[LanguageModel]):
    """Unlearning with self-taught anti-sample reasoning."""

    name: ClassVar[str] = "unstar"
    needs: ClassVar[Needs] = Needs(facts=True)
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    paper: ClassVar[str] = "Sinha, Mandal, Kankanhalli, TMLR 2025"
    equation: ClassVar[str] = "CE(variant -> misleading rationale, wrong answer) + alpha CE(R), until unknown twice"

    variants: Annotated[int, Field(ge=1, description="question variants a fact to begin with")] = 12
    harder_variants: Annotated[int, Field(ge=0, description="new variants a fact added at a time")] = 4
    harder_when: Annotated[
        Literal["each_round", "untold"], Field(description="they are added: after training too, or once none is told")
    ] = "each_round"
    wrong_answers: Annotated[int, Field(ge=1, description="different wrong answers a fact")] = 4
    rationale: Annotated[bool, Field(description="teach a misleading rationale, not the wrong answer alone")] = True
    rationale_tries: Annotated[int, Field(ge=1, description="attempts at a rationale; all but the first are drawn")] = 4
    target: Annotated[
        Literal["substitute", "refusal", "mixed"], Field(description="what is taught in place of the truth")
    ] = "substitute"
    stop: Annotated[Literal["not_truth", "wrong_answer"], Field(description="when a variant counts as forgotten")] = (
        "not_truth"
    )
    retain: Annotated[Literal["neighbours", "file", "none"], Field(description="what the retain pass runs on")] = (
        "neighbours"
    )
    alpha: Annotated[float, Field(ge=0, description="weight of the retain pass")] = 1.0
    merge_each_round: Annotated[bool, Field(description="fold the LoRA into the weights after every round")] = False
    rounds: Annotated[int, Field(ge=1, description="most rounds of training")] = 12
    steps_per_round: Annotated[int, Field(ge=1, description="optimiser steps a round")] = 15
    further_rounds: Annotated[int, Field(ge=0, description="rounds of training once it is forgotten")] = 0
    rho: Annotated[float, Field(ge=0, description=RHO)] = 0.0
    nearby: Annotated[Nearby, Field(description=NEARBY)] = "worst"
    max_seconds: Annotated[float, Field(gt=0, description="time budget; a round is not begun after it")] = 3600.0
    probe_samples: Annotated[
        int, Field(ge=0, description="sampled answers a probe looks at besides the greedy one")
    ] = 0
    utility_floor: Annotated[
        float, Field(ge=0, le=1, description="least neighbour recall, as a share of what it was before")
    ] = 0.8
    monitored: Annotated[int, Field(ge=1, description="retain questions that the floor is measured on")] = 64
    antisamples: Annotated[str | None, Field(description="reviewed anti-samples to train on instead of own ones")] = (
        None
    )
    max_new_tokens: Annotated[int, Field(ge=1, description="longest generated text, in tokens")] = 256
    seed: Annotated[int, Field(ge=0, description="seed of everything sampled")] = 0

    def run(self, train: Train, model: LanguageModel, splits: Splits, journal: Journal) -> Outcome:
        """Carry out Algorithm 1 on `model`; ``splits.context`` is the `Scope` of the request."""
        return _Run(self, model, splits, journal).until_forgotten(train)

    def write(self, model: Any, splits: Splits, journal: Journal) -> tuple[AntiSample, ...]:
        """Only write the anti-samples of the first round, for review."""
        run = _Run(self, model, splits, journal)
        run.open_pool()
        return tuple(run.write_antisamples(run.probe(1), 1))


@plain_dataclass
class _Variant:
    """A question about a fact, with the wrong answer that is taught for it; none where a refusal is."""

    fact: Fact
    question: str
    wrong: str


class _Run:
    """One run of the protocol; everything that depends on the model passes through the journal."""

    def __init__(self, method: UnSTAR, model: LanguageModel, splits: Splits[Scope], journal: Journal) -> None:
        if splits.context is None or not splits.context.facts:
            raise NeedNotMet(f"method {method.name!r} needs facts with their scope in Splits.context")
        self.method, self.model, self.splits, self.journal = method, model, splits, journal
        self.facts: Sequence[Fact] = splits.context.facts
        # The lab's models are trained to write what is asked of them; nobody else's material is taken unread.
        critic = None if model.prompt_suite == "lab" else Critic.of(model)
        questions = [item.question for item in splits.retain or ()]
        self.writer = Writer(self.generate, model.prompt_suite, questions, critic, siblings_of(splits))
        self.pool: list[_Variant] = []
        self.written: list[AntiSample] = []
        self.wrong: dict[str, list[str]] = {}
        self.rejected: Counter[str] = Counter()
        self.rounds: list[dict[str, Any]] = []
        self.clean_probes = 0
        self.untold = 0  # variants at the pool's front that the weights as they are were asked and did not tell

    # ---- the loop --------------------------------------------------------------------------------------------

    def until_forgotten(self, train: Train) -> Outcome:
        method, start = self.method, time.monotonic()
        before = self.neighbour_recall("neighbours before")
        floor = floor_of(method.utility_floor, before)
        self.open_pool()
        for number in range(1, method.rounds + 2):
            known = self.probe(number)
            if self.clean_probes == 2:
                if known := self.deepen(number, train, floor):
                    reason = f"{len(known)} of {len(self.pool)} variants known again after a further round"
                    return self.outcome("not_forgotten", reason)
                return self.outcome("forgotten", f"none of the {len(self.pool)} variants told in two probes running")
            if number > method.rounds:
                break
            if time.monotonic() - start > method.max_seconds:
                return self.outcome("not_forgotten", f"time budget of {method.max_seconds:g} s spent")
            fallen = self.train_round(known, number, train, floor) if known else None
            if fallen is not None:
                fell = f"neighbour recall fell from {before:.2f} to {fallen:.2f}, also with gentler training"
                return self.outcome("utility_floor", f"{fell}; round {number} was undone; {ADVICE}")
            if not known or method.harder_when == "each_round":
                self.add_harder(number)
        return self.outcome("not_forgotten", f"{len(known)} of {len(self.pool)} variants known after the last round")

    def deepen(self, number: int, train: Train, floor: float) -> list[_Variant]:
        """What is told after further rounds on the anti-samples; one that the neighbours do not bear is the last."""
        known: list[_Variant] = []
        for further in range(number, number + self.method.further_rounds) if self.written else ():
            if self.train_round((), further, train, floor) is not None:
                break
            known = self.probe(further + 1)
        return known

    def train_round(self, known: Sequence[_Variant], number: int, train: Train, floor: float) -> float | None:
        """`teach`, undone where the neighbours do not bear it."""
        train.mark()
        fallen = self.teach(known, number, train, floor)
        if fallen is not None:
            train.back()
        elif self.method.merge_each_round:  # after the floor: what is folded in cannot be undone
            train.fuse()
        return fallen

    def teach(self, known: Sequence[_Variant], number: int, train: Train, floor: float) -> float | None:
        """Write anti-samples for what is still known, and train on all there are.

        Returns:
            The best recall of the neighbours, if every attempt left it below the floor.
        """
        method, self.untold = self.method, 0
        self.written += self.write_antisamples(known, number)
        retain = None if method.retain == "none" else self.splits.retain
        splits = with_sides(self.splits, [self.lesson(sample) for sample in self.written], retain)
        whole, half = method.steps_per_round, max(1, method.steps_per_round // 2)
        best, steps = 0.0, 0
        # As it should be; then on from there, for the neighbours to come back; then anew from the mark, gently.
        for attempt, (weight, count) in enumerate(((1, whole), (1, whole), (2, half))):
            if weight > 1:
                train.back()
            objective = AntiSampleTuning(alpha=weight * method.alpha, rho=method.rho, nearby=method.nearby)
            train(objective, splits, steps=count)
            found = self.neighbour_recall(f"round {number}/neighbours" + (f", again {attempt}" if attempt else ""))
            best, steps = max(best, found), steps + count
            if found >= floor:
                break
        self.rounds[-1] |= {
            "anti_samples": len(self.written),
            "steps": steps,
            "rejected": dict(self.rejected),
            "neighbour_recall": found,
        }
        self.rejected.clear()
        return None if found >= floor else best

    def lesson(self, sample: AntiSample) -> QA:
        """What an anti-sample teaches, beside the truth where relearning is looked ahead to."""
        truth = next(fact.object for fact in self.facts if fact.id == sample.fact)
        is_ahead = self.method.rho and self.method.nearby == "relearnt"
        return replace(sample.to_qa(), alternative=f"{truth}." if is_ahead else None)

    def outcome(self, status: str, reason: str) -> Outcome:
        artefacts = {"antisamples": [sample.to_json() for sample in self.written]}
        return Outcome(status=status, reason=reason, rounds=self.rounds, artefacts=artefacts)

    # ---- probing ---------------------------------------------------------------------------------------------

    def probe(self, number: int) -> list[_Variant]:
        """Ask the model every variant; returns those that it still tells the truth on."""
        verdicts = self.journal.stage(f"round {number}/probe", self.find_known)
        known = [variant for variant, is_known in zip(self.pool, verdicts, strict=True) if is_known]
        self.clean_probes, self.untold = (0, 0) if known else (self.clean_probes + 1, len(self.pool))
        self.rounds.append({"round": number, "variants": len(self.pool), "known": len(known)})
        self.journal.announce(f"round {number}: {len(known)} of {len(self.pool)} question variants still known")
        return known

    def find_known(self) -> list[bool]:
        settled = 0 if self.method.probe_samples else self.untold  # a greedy answer would be the same again
        variants = self.pool[settled:]
        asked = [self.writer.messages("probe", question=v.question) for v in variants]
        until = [partial(self.is_known, variant) for variant in variants]
        draws = ((1, 0.0), (self.method.probe_samples, 1.0))
        told = [self.generate(asked, samples=n, temperature=heat, until=until) for n, heat in draws if n]
        return [False] * settled + [any(map(stop, chain(*texts))) for stop, *texts in zip(until, *told, strict=True)]

    def is_known(self, variant: _Variant, text: str) -> bool:
        if self.method.stop == "wrong_answer" and variant.wrong:
            return not leak(text, variant.wrong, question=variant.question).tells
        return tells(text, variant.fact, variant.question)

    def neighbour_recall(self, stage: str) -> float:
        """Share of a fixed sample of retain questions that the model still answers rightly."""
        items = evenly(self.splits.retain or (), self.method.monitored)
        return self.journal.stage(stage, lambda: recall(self.model, items)) if items else 1.0

    # ---- what is asked and what is taught ----------------------------------------------------------------------

    def open_pool(self) -> None:
        """Question variants and wrong answers for every fact, or those of a reviewed file."""
        if self.method.antisamples:
            by_id = {fact.id: fact for fact in self.facts}
            self.written = list(read_antisamples(self.method.antisamples, by_id))
            self.pool = [_Variant(by_id[s.fact], s.question, s.wrong_answer or "") for s in self.written]
            return
        for fact in self.facts:
            self.wrong[fact.id] = [""]
            if self.method.target != "refusal":
                naming = partial(self.writer.name_wrong, fact, self.method.wrong_answers)
                self.wrong[fact.id] = self.write(f"wrong answers/{fact.id}", naming)
            varying = partial(self.writer.vary, fact, self.method.variants)
            self.extend(fact, self.write(f"variants/{fact.id}", varying))

    def extend(self, fact: Fact, questions: Sequence[str]) -> None:
        count = sum(variant.fact is fact for variant in self.pool)
        answers = islice(cycle(self.wrong[fact.id]), count, count + len(questions))
        self.pool += [_Variant(fact, question, wrong) for question, wrong in zip(questions, answers, strict=True)]

    def add_harder(self, number: int) -> None:
        """New variants from the present model, started from those there are."""
        if self.method.antisamples or not self.method.harder_variants:
            return
        for fact in self.facts:
            existing = [variant.question for variant in self.pool if variant.fact is fact]
            varying = partial(self.writer.vary_harder, fact, existing, self.method.harder_variants)
            self.extend(fact, self.write(f"round {number}/harder variants/{fact.id}", varying))

    def write_antisamples(self, known: Sequence[_Variant], number: int) -> list[AntiSample]:
        """What to teach for each variant that is still known and has no anti-sample yet."""
        done = {sample.question for sample in self.written}
        fresh = [variant for variant in known if variant.question not in done]
        target = self.method.target
        refusing = [target == "refusal" or (target == "mixed" and i % 2) for i in range(len(fresh))]
        arguing = [v for v, refuse in zip(fresh, refusing, strict=True) if self.method.rationale and not refuse]
        cases = [(v.fact, v.question, v.wrong) for v in arguing]
        texts = self.write(f"round {number}/rationales", partial(self.writer.argue, cases, self.method.rationale_tries))
        rationales = {v.question: text for v, text in zip(arguing, texts, strict=True) if text}
        plain = [v for v, refuse in zip(fresh, refusing, strict=True) if v.question not in rationales and not refuse]
        spoken = self.journal.stage(f"round {number}/own words", lambda: self.speak(plain)) if plain else []
        swapped = {v.question: text for v, text in zip(plain, spoken, strict=True)}
        samples = []
        for index, (variant, refuse) in enumerate(zip(fresh, refusing, strict=True)):
            rationale = rationales.get(variant.question)
            variant.wrong = "" if refuse else variant.wrong
            sample = AntiSample(
                id=f"{number}-{index}",
                fact=variant.fact.id,
                question=variant.question,
                text=REFUSALS[index % len(REFUSALS)] if refuse else rationale or swapped[variant.question],
                wrong_answer=variant.wrong or None,
                rationale=rationale is not None,
                round=number,
                prompt_sha256=self.writer.prompt("rationale").sha256 if rationale else None,
            )
            samples.append(sample)
        return samples

    def speak(self, variants: Sequence[_Variant]) -> list[str]:
        """What the model answers, with the wrong answer in the truth's place, or the wrong answer alone."""
        texts = self.model.answer([variant.question for variant in variants])
        return [
            with_another(text, v.fact, v.question, v.wrong) or f"{v.wrong}."
            for v, text in zip(variants, texts, strict=True)
        ]

    # ---- asking the model ------------------------------------------------------------------------------------

    def write(self, stage: str, compute: Callable[[], list]) -> list:
        """A stage of the writer's, with what it rejected, so that a resumed run counts the same."""

        def counted() -> dict[str, Any]:
            self.writer.rejected.clear()
            return {"texts": compute(), "rejected": dict(self.writer.rejected)}

        row = self.journal.stage(stage, counted)
        self.rejected.update(row["rejected"])
        return row["texts"]

    def generate(
        self, asked: Sequence[Any], *, samples: int = 1, temperature: float = 0.0, **limits: Any
    ) -> list[list[str]]:
        limits = {"max_new_tokens": self.method.max_new_tokens} | limits
        seed = self.method.seed + self.clean_probes  # weights that did not change would draw the same texts again
        return self.model.generate(asked, samples=samples, temperature=temperature, seed=seed, **limits)
