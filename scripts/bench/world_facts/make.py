#!/usr/bin/env python
"""Which facts of the world lab:smollm2 knows: asks it candidates in many phrasings and keeps what it tells.

    python scripts/bench/world_facts/make.py         # writes genunlearn/lab/lm/world_facts.json

A phrasing is kept if the greedy answer tells the object, in the precision that lab:smollm2 is run in; a fact is kept
with at least four phrasings that unlearning may use and at least four held-out ones. The plainest is asked first,
and the others only where it was answered. The answers are written down beside the questions.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track
from ruamel.yaml import YAML

from genunlearn.data.answers.leak import mention
from genunlearn.data.lm.facts import Fact
from genunlearn.data.lm.telling import tells
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.lab.lm import smollm2
from genunlearn.lab.lm.triples import slug
from genunlearn.lab.lm.world_facts import FILE

LEAST, MOST = 4, 5
"""Phrasings of each kind that a fact must and may have."""

A_RELATION = 24
"""Candidates of a relation that are asked in all phrasings."""

CHUNK, LENGTH = 64, 18
DTYPE = "bfloat16"
CANDIDATES = Path(__file__).with_name("candidates.yaml")


@dataclass(frozen=True)
class Candidate:
    """A fact that the model may know, with its questions by kind."""

    fact: Fact
    article: str
    types: tuple[str, str]
    asked: dict[str, tuple[str, ...]]


def main() -> None:
    """Ask, keep, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FILE, help="where the file goes")
    parser.add_argument("--relations", help="only these, comma-separated; for a quick look")
    arguments = parser.parse_args()

    relations = YAML(typ="safe").load(CANDIDATES)
    if arguments.relations:
        relations = [each for each in relations if each["relation"] in arguments.relations.split(",")]
    candidates = [candidate for relation in relations for candidate in read(relation)]
    model = LanguageModel.load(str(smollm2.build()), dtype=DTYPE, device="cpu")
    told = answered(model, [(each, each.asked["questions"][:1]) for each in candidates])
    promising: dict[str | None, list[Candidate]] = {}
    for each in candidates:
        if any(question in told for question in each.asked["questions"][:1]):
            promising.setdefault(each.fact.relation, []).append(each)
    chosen = [each for kin in promising.values() for each in kin[:A_RELATION]]
    told |= answered(model, [(each, [*each.asked["questions"][1:], *each.asked["heldout"]]) for each in chosen])
    rows = [row for each in chosen if (row := known(each, told))]
    about = {
        "about": "Facts of the world that lab:smollm2 knows, each in phrasings whose greedy answer tells the object.",
        "command": "python scripts/bench/world_facts/make.py",
        "model": {"file": smollm2.FILE, "sha256": smollm2.FILE_SHA256, "dtype": DTYPE, "answer_tokens": LENGTH},
        "kept": f"{len(rows)} of {len(candidates)} candidates",
        "relations": [
            {key: each[key] for key in ("relation", "synonyms", "types", "statement")}
            | {"symmetric": each.get("symmetric", False)}
            for each in relations
            if any(row["relation"] == each["relation"] for row in rows)
        ],
    }
    lines = ",\n".join(f" {json.dumps(row, ensure_ascii=False)}" for row in rows)
    head = json.dumps(about, ensure_ascii=False, indent=1).removesuffix("\n}")
    arguments.out.write_text(f'{head},\n "facts": [\n{lines}\n]}}\n', encoding="utf-8")
    for each in relations:
        told = sum(row["relation"] == each["relation"] for row in rows)
        print(f"{each['relation']}: {told} of {len(each['facts'])}")
    print(about["kept"])


def answered(model: LanguageModel, asked: Sequence[tuple[Candidate, Sequence[str]]]) -> dict[str, str]:
    """The answers that tell the fact asked for, by question."""
    facts = {question: each.fact for each, questions in asked for question in questions}
    questions = sorted(facts, key=len)
    told: dict[str, str] = {}
    for start in track(range(0, len(questions), CHUNK), f"{len(questions)} questions"):
        chunk = questions[start : start + CHUNK]
        pairs = zip(chunk, model.answer(chunk, max_new_tokens=LENGTH), strict=True)
        told |= {question: text for question, text in pairs if tells(text, facts[question], question)}
    return told


def read(relation: dict[str, Any]) -> Iterator[Candidate]:
    """The candidates of one relation; questions that name their answer are left out."""
    for subject, told in relation["facts"].items():
        name = subject.removeprefix("the ")
        object_, *others = told.split("|")
        aliases = [alias for alias in others if not mention(alias, object_)]  # "US dollar" names the dollar anyway
        fact = Fact(
            id=f"{slug(name)}.{slug(relation['relation'])}",
            subject=name,
            relation=relation["relation"],
            object=object_,
            question=fill(relation["questions"][0], subject),
            aliases=tuple(aliases),
        )
        filled = {kind: [fill(text, subject) for text in relation[kind]] for kind in ("questions", "heldout")}
        asked = {
            kind: tuple(text for text in texts if not mention(text, object_, aliases=aliases, subject=name, exact=True))
            for kind, texts in filled.items()
        }
        yield Candidate(fact, "the" if name != subject else "", tuple(relation["types"]), asked)


def fill(template: str, subject: str) -> str:
    """The phrasing of one subject."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", template.format(subject=subject))
    return text[:1].upper() + text[1:]


def known(candidate: Candidate, told: Mapping[str, str]) -> dict[str, Any] | None:
    """The row of a candidate that the model knows in enough phrasings, with what it answers."""
    fact = candidate.fact
    kept = {
        kind: [{"question": question, "answer": told[question]} for question in questions if question in told][:MOST]
        for kind, questions in candidate.asked.items()
    }
    if min(map(len, kept.values())) < LEAST:
        return None
    return {
        "id": fact.id,
        "subject": fact.subject,
        **({"article": candidate.article} if candidate.article else {}),
        "relation": fact.relation,
        "object": fact.object,
        "aliases": list(fact.aliases),
        **kept,
    }


if __name__ == "__main__":
    main()
