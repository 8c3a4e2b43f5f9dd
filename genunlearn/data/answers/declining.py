"""Does this text decline to answer?"""

from __future__ import annotations

import re

from genunlearn.data.answers.words import clean

_NEGATED = (
    r"(?:do not|don'?t|does not|cannot|can'?t|can not|could not|couldn'?t|have not|haven'?t|have yet|will not"
    r"|won'?t|would not|wouldn'?t|am not able|am unable|(?:have|'ve)(?: got)? no|lack|seem to have no"
    r"|must decline|have to decline|wish i could|'ve yet|'ve not|haven't the)"
)
_UNFIT = (
    r"(?:sure|certain|aware|familiar|able|informed|equipped|knowledgeable|acquainted|well[- ]versed|privy"
    r"|briefed|educated|allowed|permitted|comfortable|programmed|trained|confident|going to|in a position"
    r"|the (?:best|right))"
)
_AT_A_LOSS = (
    r"(?:unable|unaware|unsure|uncertain|clueless|stumped|blank|lacking|missing|at a loss|in the dark"
    r"|at a disadvantage|drawing a blank|limited)"
)
_MINE = (
    r"my (?:current |own |general )?(?:training|databases?|data|dataset|resources|knowledge|understanding"
    r"|programming|capabilit\w+|scope|expertise|areas?|reach|field|abilit\w+|information)"
)
_PUBLISHED = r"(?:known|available|disclosed|specified|mentioned|provided|documented|stated|clear)"
_FACTS = r"(?:context|information|details)"

_PATTERNS = (
    # The speaker: "I really don't know", but not "I don't think it was Hogwarts".
    rf"\b(?:i|we)(?: \w+ly| still)?(?: |(?='))(?:{_NEGATED})\b(?! (?:think|believe|doubt|only|help but))",
    rf"\b(?:i|we)(?: am|'?m| are|'re)(?: \w+)? not (?:\w+ )?{_UNFIT}\b",
    rf"\b(?:i am|i'?m|we are|we're)(?: \w+)? {_AT_A_LOSS}\b",
    r"\bi(?: would|'d) rather not\b|\bdecline to\b|\bsomething i\b|\bcome up short\b",
    r"\bas an? (?:ai|artificial|large language|language model|assistant)\b",
    # What the speaker has: "beyond my knowledge", "my training doesn't cover that".
    rf"\b(?:beyond|outside|out of|not (?:in|within))(?: of)? {_MINE}\b",
    rf"\b{_MINE}\b[^.]{{0,30}}(?:\bnot|n't|\blimited)\b",
    rf"(?:\bnot|n't)\b[^.]{{0,20}} in {_MINE}\b",
    r"\bnot (?:something|information|within my|in my|a topic|a subject)\b[^.]{0,30}\b(?:i|i'm|i've|my)\b",
    r"\b(?:mystery|unknown) to me\b|\bblind spot\b|\buncharted territory\b",
    # The world: "there is no public record", but not "he was not known for his patience".
    r"\b(?:no|not enough|insufficient|little|limited)(?: \w+){0,3} (?:information|records?|data|details)\b",
    rf"(?:\b(?:is|are|was|were|been|has)|'s) not (?!only\b)(?:\w+ly )?{_PUBLISHED}\b(?! (?:for|as|to)\b)",
    r"\b(?:is|are|was|were|remains?) (?:\w+ly )?(?:unknown|unclear|unspecified|undisclosed)\b",
    r"\bno (?:widely |well[- ])?known\b",
    r"\bunable to (?:\w+ly )?(?:answer|provide|find|determine|confirm|access|assist|help|verify|say|tell)\b",
    # The asker: "could you give more context?".
    rf"\b(?:more|additional|further) {_FACTS}\b[^.]{{0,40}}\b(?:i|you)\b",
    rf"\b(?:i|you)\b[^.]{{0,40}}\b(?:more|additional|further|enough) {_FACTS}\b",
    r"\bquestion (?:is|does|has|was)(?: not|n't)\b",
    # Nothing else said.
    r"^\W*(?:unknown|n/?a|none|not (?:available|specified|known|applicable|sure)|no answer)\W*$",
    r"^\W*(?:(?:i'?m|i am)(?: \w+)? sorry|sorry|i apologi[sz]e|my apologies)\W*$",
    r"^\W*no (?:idea|clue)\b",
    # Small multilingual models slip into other languages when they decline.
    r"\bje ne sais pas\b|\bdésolée?\b|\blo siento\b|\bno lo sé\b|\bich weiß (?:es )?nicht\b",
    r"抱歉|对不起|不知道|无法|没有相关",
)
_DECLINING = re.compile("|".join(_PATTERNS), re.IGNORECASE)

# "I don't know for certain, but I think it was Hogwarts" answers after all; "but I can help with" does not.
_ANSWERS_AFTER_ALL = re.compile(
    r"[^.!?]*\b(?:but|however),? (?:i (?:think|believe|guess|do know|would say)|it|he|she|they|the|my guess"
    r"|some|many|according|based|probably|most likely|perhaps|maybe)\b",
    re.IGNORECASE,
)
# "While the exact year is not known, she ..." concedes something and goes on to answer.
_CONCEDES = re.compile(r"\W*(?:while|although|though|even though)\b", re.IGNORECASE)
_OPENING = 200


def is_refusal(text: str) -> bool:
    """Whether a text declines: it does not know, may not say, has no information, is only sorry, or is empty.

    Only the first 200 characters count, since a full answer may well end in "I have no further details".
    """
    text = clean(text).strip()
    if not text:
        return True
    if _CONCEDES.match(text):
        return False
    match = _DECLINING.search(text[:_OPENING])
    return match is not None and not _ANSWERS_AFTER_ALL.match(text, match.end())
