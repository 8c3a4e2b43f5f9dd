"""How a model writes what it is to be taught instead of a fact: question variants, wrong answers, rationales.

Every text comes from the model itself and passes filters; what is rejected is counted by reason. A `Critic` adds the
model's own judgement: variants that it does not answer with the truth are dropped, wrong answers must be of the truth's
shape and likely in its place, and where the model writes too few variants, plain framings of the question stand in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rapidfuzz import fuzz, process
from rapidfuzz.utils import default_process

from genunlearn.data.answers.leak import leak, mention
from genunlearn.data.answers.lists import parse_list
from genunlearn.data.answers.wording import key
from genunlearn.data.lm.critic import Critic
from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.limits import limits
from genunlearn.data.lm.shapes import like, shape
from genunlearn.data.lm.telling import gives, tells
from genunlearn.data.lm.variants import accept_variant, framed, named_in
from genunlearn.errors import DataError
from genunlearn.prompts import Prompt, list_prompts, load_prompt

LONGEST_NAME = 8
"""Words of a wrong answer; a longer one is a sentence that the model wrote instead of a name."""

ATTEMPTS = 4
"""How often a list is asked for before what there is must do."""

SAME_QUESTION = 95.0
"""Token-sort ratio from which two questions are the same one."""

LISTS = 4
"""Lists of variants that are drawn of each phrasing."""

DRAWS = (1, 3)
"""The same where a critic sorts them out: the further ones only where the first do not suffice."""

SEEDS = 2
"""Variants that harder ones are started from, where a critic sorts them out."""

HARDER_LISTS = 2
"""Lists of harder variants that are drawn of each of them."""

CLOSING_WORDS = 4
"""Words of "So the answer is"; a rationale has more beside the wrong answer."""

NAMED = "names the truth"
ECHOED = "repeats the prompt"
CIRCLES = "repeats itself"
"""Why a rationale is refused that is beyond help, whatever follows."""

COPIED = "copied from the prompt"
"""Why a variant or a name is refused that is the example's."""

INITIALS = 2
"""Letters of a word that a name may hold twice, as in J. R. R. Tolkien."""

RUN = 6
"""Words running that do not occur twice by chance."""

FURTHER = 0.6
"""Temperature at which further attempts at a rationale are drawn."""

REWORDINGS = 4
"""Other phrasings that are asked for where one is needed."""

SPARE = 2
"""Questions that are tried beyond what is missing."""

INSTEAD = "give them: method.answers (alt_po), --antisamples, or method.target: refusal (both unstar)"
"""What to do where a model names no wrong answer."""

Generate = Callable[..., list[list[str]]]


@dataclass
class Writer:
    """Asks one model for anti-sample material.

    Attributes:
        generate: ``(conversations, samples=..., temperature=..., max_new_tokens=..., max_lines=...) -> texts by
            conversation``; the last two are given only for prompts that have a limit.
        suite: Prompt suite that the model is asked with.
        neighbours: Questions that must stay answered; a variant that comes out as one of them has drifted off.
        critic: How the model judges what it wrote; None where only strings are compared.
        siblings: Answers to the same question about other subjects, as candidates for wrong answers.
        rejected: Number of rejected texts by reason.
    """

    generate: Generate
    suite: str
    neighbours: Sequence[str] = ()
    critic: Critic | None = None
    siblings: Sequence[str] = ()
    rejected: Counter[str] = field(default_factory=Counter)

    def prompt(self, name: str) -> Prompt:
        """The prompt of that name in the suite."""
        return load_prompt(f"{self.suite}/{name}")

    def messages(self, prompt: str, **variables: Any) -> list[dict[str, str]]:
        """The conversation of one prompt; variables that it does not use are left out."""
        template = self.prompt(prompt)
        return template.messages(**{name: variables[name] for name in template.variables})

    def limits(self, prompt: str, lines: int | None = None) -> dict[str, int]:
        """Where an answer to a prompt ends, if its file says so; a list also after so many lines."""
        return limits(self.prompt(prompt), lines)

    def vary(self, fact: Fact, count: int) -> list[str]:
        """The fact's own phrasings and, up to `count`, variants that the model writes.

        Raises:
            DataError: A critic leaves none, that is, the model answers none of them with the truth.
        """
        if self.critic is not None:
            return self._vary_known(fact, count)
        questions = list(fact.phrasings)[:count]
        for attempt in range(ATTEMPTS):
            if len(questions) >= count:
                break
            questions += self._rephrase("variants", fact, fact.phrasings, questions, count, 0.7 + 0.2 * attempt)
        return questions[:count]

    def _vary_known(self, fact: Fact, count: int) -> list[str]:
        """`vary` where a critic sorts out: lists are drawn while questions are missing, of little more than those."""
        judged, questions = [*fact.phrasings], self._known(fact, fact.phrasings)
        for attempt, samples in enumerate(DRAWS):
            if (missing := count - len(questions)) <= 0:
                break
            lines, heat = missing + SPARE, 0.7 + 0.2 * attempt
            written = self._rephrase("variants", fact, fact.phrasings, judged, lines, heat, samples=samples)
            judged, questions = judged + written, questions + self._known(fact, written)
        questions = self._fill_up(fact, judged, questions, count, heldout=False)
        if not questions:
            raise DataError(
                f"fact {fact.id!r}: the model answers no variant of {fact.question!r} with the truth; give more "
                "phrasings, or reviewed anti-samples (--antisamples)"
            )
        return questions

    def vary_harder(self, fact: Fact, existing: Sequence[str], count: int) -> list[str]:
        """At most `count` new variants, started from `existing` ones."""
        harder = f"{self.suite}/variants_harder" in list_prompts()
        prompt = "variants_harder" if harder else "variants"
        if self.critic is None:
            return self._rephrase(prompt, fact, existing, existing, count, 1.0)[:count]
        candidates = self._rephrase(prompt, fact, existing[:SEEDS], existing, count, 0.9, samples=HARDER_LISTS)
        written = self._known(fact, candidates)
        return self._fill_up(fact, existing, written, count, heldout=False)

    def hold_out(self, fact: Fact, count: int) -> list[str]:
        """At most `count` phrasings that are kept for measurement."""
        if self.critic is None:
            return self.vary_harder(fact, fact.phrasings, count)
        written = self._known(fact, self._rephrase("variants_harder", fact, fact.phrasings, fact.phrasings, count, 0.9))
        return self._fill_up(fact, fact.phrasings, written, count, heldout=True)

    def reword(self, items: Sequence[QA]) -> list[str | None]:
        """Another phrasing of each question, which the model wrote and answers with the truth; None for none."""
        facts = [
            Fact(id=item.id, subject=named_in(item.question), object=item.answer.strip(" ."), question=item.question,
                 aliases=item.aliases)
            for item in items
        ]  # fmt: skip
        variables = [{"question": f.question, "subject": f.subject, "answer": f.object, "n": REWORDINGS} for f in facts]
        asked = [self.messages("variants", **each) for each in variables]
        found: list[str | None] = [None] * len(items)
        candidates = []
        for at, (text,) in enumerate(self.generate(asked, temperature=0.7, **self.limits("variants", REWORDINGS))):
            for candidate in parse_list(text, questions=True, like=facts[at].question):
                if (reason := accept_variant(candidate, facts[at], [facts[at].question])) is None:
                    candidates.append((at, candidate))
                else:
                    self.rejected[f"variant: {reason}"] += 1
        answers = self.generate([self.messages("probe", question=question) for _, question in candidates])
        for (at, question), (text,) in zip(candidates, answers, strict=True):
            is_known = gives(text, replace(items[at], question=question))
            self._count("variant: not answered with the truth", not is_known)
            if found[at] is None and is_known:
                found[at] = question
        return found

    def _fill_up(
        self, fact: Fact, existing: Sequence[str], written: list[str], count: int, *, heldout: bool
    ) -> list[str]:
        """`written` and, where they are too few, framings of the question that the model answers with the truth."""
        if (missing := count - len(written)) > 0:
            frames = framed(fact.question, [*existing, *fact.heldout, *written], heldout=heldout)
            written = written + self._known(fact, frames[: missing + SPARE])
        return written[:count]

    def _known(self, fact: Fact, questions: Sequence[str]) -> list[str]:
        """Those of the questions that the model answers with the truth and takes for a question about it."""
        assert self.critic is not None
        kept = self.critic.knows(fact, questions)
        self._count("variant: not answered with the truth", len(questions) - sum(kept))
        return [question for question, is_known in zip(questions, kept, strict=True) if is_known]

    def _count(self, reason: str, count: int) -> None:
        """Note rejected texts; a reason that applied to none is not mentioned."""
        if count:
            self.rejected[reason] += count

    def _rephrase(
        self,
        prompt: str,
        fact: Fact,
        seeds: Sequence[str],
        existing: Sequence[str],
        count: int,
        temperature: float,
        *,
        samples: int = LISTS,
    ) -> list[str]:
        variables = {"subject": fact.subject, "answer": fact.object, "n": count}
        asked = [self.messages(prompt, question=question, **variables) for question in seeds]
        example = self._example(prompt, fact)
        accepted: list[str] = []
        for row in self.generate(asked, samples=samples, temperature=temperature, **self.limits(prompt, count)):
            for candidate in (item for text in row for item in parse_list(text, questions=True, like=fact.question)):
                known = [*existing, *fact.heldout, *accepted]
                reason = self._drift(candidate) or accept_variant(candidate, fact, known)
                if reason is None and not example.isdisjoint(key(candidate).split()):
                    reason = COPIED
                if reason is None:
                    accepted.append(candidate)
                else:
                    self.rejected[f"variant: {reason}"] += 1
        return accepted

    def _example(self, prompt: str, fact: Fact) -> set[str]:
        """Words that only a copy of the prompt's example has: none where the fact has one of them itself."""
        example = {key(word) for word in self.prompt(prompt).example}
        own = [fact.subject, *fact.subject_aliases, fact.object, *fact.aliases, *fact.phrasings, *fact.heldout]
        return example if example.isdisjoint(key(" ".join(own)).split()) else set()

    def _drift(self, candidate: str) -> str | None:
        """Asked for where Plato was born, a model may write where he died: another question with the same answer."""
        near = process.extractOne(
            candidate,
            self.neighbours,
            scorer=fuzz.token_sort_ratio,
            processor=default_process,
            score_cutoff=SAME_QUESTION,
        )
        return "asks for a neighbour" if near else None

    def name_wrong(self, fact: Fact, count: int) -> list[str]:
        """At most `count` other answers of the same kind; near-correct ones are rejected.

        Raises:
            DataError: The model names none.
        """
        asked = self.messages(
            "wrong_answers",
            question=fact.question,
            answer=fact.object,
            object_type=fact.object_type or "answer",
            shape=shape(fact.object),
            n=count,
        )
        if self.critic is not None:
            return self._name_likely(fact, asked, count)
        accepted: list[str] = []
        for attempt in range(ATTEMPTS):
            for text in self.generate([asked], samples=8, temperature=0.7 + 0.2 * attempt)[0]:
                for candidate in (item.strip(" .") for item in parse_list(text, like=fact.question)):
                    if reason := _refuse_name(candidate, fact, accepted):
                        self.rejected[f"wrong answer: {reason}"] += 1
                    else:
                        accepted.append(candidate)
            if len(accepted) >= count:
                return accepted[:count]
        if not accepted:
            raise DataError(f"fact {fact.id!r}: the model names no other answer than {fact.object!r}; {INSTEAD}")
        return accepted

    def _name_likely(self, fact: Fact, asked: list[dict[str, str]], count: int) -> list[str]:
        """Like `name_wrong`, but of the truth's shape, likely in its place, and not an example of the prompt's."""
        assert self.critic is not None
        shown = {key(item) for turn in asked if turn["role"] == "assistant" for item in parse_list(turn["content"])}
        (texts,) = self.generate([asked], samples=8, temperature=0.8, **self.limits("wrong_answers", count))
        written = [item.strip(" .") for text in texts for item in parse_list(text, like=fact.question)]
        accepted: list[str] = []
        for candidate in (*self.siblings, *written):
            alike = like(candidate, fact.object)
            if alike is None:
                reason: str | None = "of another kind"
            elif mention(fact.question, alike):
                reason = "in the question"
            else:
                copied = key(candidate) in shown and candidate not in self.siblings
                reason = COPIED if copied else _refuse_name(alike, fact, accepted)
            if alike is None or reason:
                self.rejected[f"wrong answer: {reason}"] += 1
            else:
                accepted.append(alike)
        likely = self.critic.likely(fact.question, accepted)
        self._count("wrong answer: unlikely", len(accepted) - len(likely))
        if not likely:
            raise DataError(
                f"fact {fact.id!r}: the model names no other answer of the kind of {fact.object!r}; {INSTEAD}"
            )
        return likely[:count]

    def argue(self, cases: Sequence[tuple[Fact, str, str]], tries: int) -> list[str | None]:
        """A misleading rationale for each ``(fact, question, wrong answer)``.

        The wrong answer is the hint. A text is rejected if the truth occurs in it, if it does not arrive at the wrong
        answer, or if it repeats the prompt or itself. Where the likeliest one is, the further attempts are drawn at
        once, and the first that passes is taken; None where all `tries` were rejected.
        """
        asked = [
            self.messages("rationale", question=question, subject=fact.subject, answer=wrong, truth=fact.object)
            for fact, question, wrong in cases
        ]
        frame = self.messages("rationale", question="", subject="", answer="", truth="")
        copied = {*_runs(" ".join(turn["content"] for turn in frame))}
        checks = [partial(_refuse_rationale, fact=fact, wrong=wrong, copied=copied) for fact, _, wrong in cases]
        texts: list[str | None] = [None] * len(cases)
        for samples, temperature in ((1, 0.0), (tries - 1, FURTHER)):
            left = [i for i, text in enumerate(texts) if text is None]
            if not (left and samples):
                break
            given: dict[str, Any] = self.limits("rationale")
            if given:  # a model that was not trained to write them may not know where to stop
                given["until"] = [partial(_is_decided, checks[i]) for i in left]
            drawn = self.generate([asked[i] for i in left], samples=samples, temperature=temperature, **given)
            for i, written in zip(left, drawn, strict=True):
                texts[i] = next((text for text in written if self._passes(text, checks[i])), None)
        if given_up := texts.count(None):
            self.rejected["rationale: given up, wrong answer alone"] += given_up
        return texts

    def _passes(self, text: str, check: Callable[[str], str | None]) -> bool:
        """Whether a rationale is not refused; counted where it is."""
        if reason := check(text):
            self.rejected[f"rationale: {reason}"] += 1
        return not reason


def _refuse_name(candidate: str, fact: Fact, accepted: Sequence[str]) -> str | None:
    if not candidate or len(candidate.split()) > LONGEST_NAME:
        return "empty or a sentence"
    if tells(candidate, fact, fact.question):
        return "true or nearly so"
    parts = [part for part in key(candidate).split() if len(part) > INITIALS]
    if len({*parts}) < len(parts):
        return CIRCLES
    if leak(candidate, fact.subject, aliases=fact.subject_aliases).tells:
        return "names the subject"
    return "duplicate" if candidate.casefold() in {name.casefold() for name in accepted} else None


def _is_decided(check: Callable[[str], str | None], text: str) -> bool:
    """Whether nothing that could follow would make a rationale better: it has arrived, or is beyond help."""
    return check(text) in (None, NAMED, ECHOED, CIRCLES)


def _refuse_rationale(text: str, *, fact: Fact, wrong: str, copied: set[str]) -> str | None:
    """Why a text does not argue for the wrong answer, in its own words and without one of the truth's."""
    if mention(text, fact.object, aliases=fact.aliases, subject=fact.subject):  # stated or denied: never named
        return NAMED
    runs = _runs(text)
    if not copied.isdisjoint(runs):
        return ECHOED
    if len({*runs}) < len(runs):
        return CIRCLES
    if not f" {key(text)}".endswith(f" {key(wrong)}"):
        return "does not arrive at the wrong answer"
    return "no argument" if len(text.split()) <= CLOSING_WORDS + len(wrong.split()) else None


def _runs(text: str) -> list[str]:
    """Every `RUN` words running of a text, as they are compared."""
    words = key(text).split()
    return [" ".join(words[start : start + RUN]) for start in range(len(words) - RUN + 1)]
