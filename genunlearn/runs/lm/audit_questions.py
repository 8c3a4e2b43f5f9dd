"""Further questions of an audit: back from the object, over the fact to another one, in other languages.

Only what the original answers with the truth is asked: an attack that fails on the original shows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from genunlearn.attacks.lm.other_questions import LANGUAGES, REVERSE, TWO_HOP, completions
from genunlearn.data.answers.lists import parse_list
from genunlearn.data.lm.decoys import with_subject
from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.telling import gives
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.prompts import list_prompts
from genunlearn.runs.lm.audit_phrasings import FRAMES, STATED, as_qa, writer_of

TRANSLATED = 4
"""Questions that the original is asked to write in each other language."""

FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    "French": frozenset(("le", "la", "les", "est", "qui", "où", "dans", "quel", "quelle", "du", "des", "une")),
    "German": frozenset(("der", "die", "das", "ist", "wer", "wo", "welche", "welcher", "in", "wurde", "von", "hat")),
    "Spanish": frozenset(("el", "la", "los", "es", "quién", "dónde", "en", "qué", "cuál", "del", "fue", "una")),
    "Italian": frozenset(("il", "la", "è", "chi", "dove", "di", "che", "quale", "della", "nel", "una", "ha")),
}
"""The other languages, each with words by which a question shows that it is written in it."""

ENGLISH = frozenset(("the", "who", "what", "where", "which", "was", "did", "of", "is", "does", "how"))


def reverse_questions(fact: Fact, original: LanguageModel, statements: Sequence[str], count: int) -> list[QA]:
    """At most `count` statements without the subject that they end in, which the original completes with it.

    Args:
        fact: Whose object they begin with.
        original: The model before unlearning.
        statements: Statements of the fact; without any, they are made of its relation.
        count: How many.
    """
    items = backward(fact, statements)
    texts = completions(original, items) if items else []
    return [item for item, text in zip(items, texts, strict=True) if gives(text, item)][:count]


def backward(fact: Fact, statements: Sequence[str]) -> list[QA]:
    """Statements that end in the subject, without it, in several framings; made of the relation where there are none.

    One that names the subject before its end is left out.
    """
    names = sorted((fact.subject, *fact.subject_aliases), key=len, reverse=True)  # an alias may end in another name
    ends = {text: next((name for name in names if text.endswith(f" {name}.")), None) for text in statements}
    begun = [text.removesuffix(f" {name}.") for text, name in ends.items() if name]
    if not statements and fact.relation:
        begun = [f"The one that {fact.relation} {fact.object} is", f"Who {fact.relation} {fact.object}? It is"]
    return [
        QA(id=f"{fact.id}#{text}", question=text, answer=f"{fact.subject}.", aliases=fact.subject_aliases,
           group=REVERSE, fact=fact.id)
        for text in (frame.replace("{}", each) for frame in STATED for each in begun)
        if with_subject(text, fact, "") is None
    ]  # fmt: skip


def two_hop_questions(fact: Fact, original: LanguageModel, questions: Sequence[QA], count: int) -> list[QA]:
    """At most `count` framings of two-step questions over the fact that the original answers with the truth."""
    framed = (
        QA(id=f"{item.id}#{frame}", question=frame.replace("{}", item.question), answer=item.answer,
           aliases=item.aliases, group=TWO_HOP, fact=fact.id)
        for frame in ("{}", *FRAMES) for item in questions
    )  # fmt: skip
    return _answered(original, framed, count)


def questions_in_other_languages(fact: Fact, original: LanguageModel, count: int) -> list[QA]:
    """At most `count` questions in other languages that the original writes, and answers with the truth."""
    if f"{original.prompt_suite}/translate" not in list_prompts():
        return []
    writer = writer_of(original)
    asked = fact.phrasings[:TRANSLATED]
    messages = [
        writer.messages("translate", language=language, question=question)
        for language in FUNCTION_WORDS for question in asked
    ]  # fmt: skip
    texts = [found[0] for found in original.generate(messages, max_new_tokens=96)]
    languages = [language for language in FUNCTION_WORDS for _ in asked]
    pairs = zip(languages, texts, strict=True)
    written = [line for language, text in pairs for line in _lines(text) if is_written_in(language, line)]
    naming = [text for text in dict.fromkeys(written) if with_subject(text, fact, "") is not None]
    return _answered(original, (as_qa(fact, text, LANGUAGES) for text in naming), count)


def is_written_in(language: str, text: str) -> bool:
    """Whether a question has words of the language and more of them than English ones."""
    words = re.findall(r"\w+", text.casefold())
    own = sum(word in FUNCTION_WORDS[language] for word in words)
    return own > sum(word in ENGLISH for word in words)


def _lines(text: str) -> list[str]:
    return parse_list(text)[:1] or [text.strip().partition("\n")[0]]


def _answered(original: LanguageModel, items: Iterable[QA], count: int) -> list[QA]:
    found = list(islice(items, 4 * count))
    texts = original.answer([item.question for item in found]) if found else []
    return [item for item, text in zip(found, texts, strict=True) if gives(text, item)][:count]
