"""What a sentence does with something that it mentions: states it, denies it, doubts it, or asks about it.

No parser: a *cue* (``not``, ``never``, ``rather than``) covers the words to its right until its clause
ends, at a full stop, a contrast (``but``), a comma or an ``and`` that opens a new clause. An even number of
denials states.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from genunlearn.data.wording import Wording
from genunlearn.data.words import Word, word_set


class Stance(Enum):
    """How something is mentioned."""

    STATED = "stated"
    DENIED = "denied"
    DOUBTED = "doubted"
    ASKED = "asked"


_DENIALS = word_set(
    "not cannot never neither nor none nobody nowhere nothing without unlike deny denies denied denying "
    "refuse refuses refused fail fails failed lack lacks lacked falsely wrongly incorrectly mistakenly "
    "erroneously myth misconception dont doesnt didnt isnt wasnt arent werent hasnt havent hadnt cant "
    "couldnt wouldnt wont shouldnt"
)
# Two words that deny together; each alone does not.
_DENYING_PAIRS = {
    "rather": word_set("than"),
    "instead": word_set("of"),
    "other": word_set("than"),
    "opposed": word_set("to"),
    "contrary": word_set("to"),
    "far": word_set("from"),
    "anything": word_set("but"),
    "everywhere": word_set("but except"),
    "anywhere": word_set("but except"),
    "absence": word_set("of"),
    "false": word_set("that to"),
    "untrue": word_set("that to"),
    "incorrect": word_set("that to"),
    "wrong": word_set("that to"),
}
# "not only", "no doubt", "no longer", "not until": what follows is stated.
_CANCELS = word_set(
    "only just merely simply solely exclusively least doubt doubts question wonder surprise surprisingly "
    "unlike longer secret exception until till"
)
# "never left Warsaw" says that it was Warsaw; "do not forget that ..." states.
_PRESUPPOSING = word_set("leave left leaving forget forgot forgotten stop stopped overlook regret anymore")
_DOUBTING = word_set(
    "know knows knew known say tell sure certain clear confirm confirmed verify verified determine "
    "remember recall aware idea clue familiar information"
)
_DOUBTS = word_set("whether unclear unsure uncertain unknown unaware wonder wondering asked asks asking")
_CONTRASTS = word_set(
    "but however although though because since whereas while yet until till except instead rather so "
    "therefore actually"
)
_CLAUSE_STARTS = word_set(
    "he she it they i we you that this there who which is was were are am be does did do has had have will "
    "would can could went came chose grew became left took made won got wrote taught lives studies attends "
    "works comes born"
)
_PREPOSITIONS = word_set("in at from to of on by for with near as")
_LEADS = word_set("the a an and but so that then i think believe guess suppose no yes well actually")
_COPULAS = word_set("is was are were be been being seems")
_NEGATED_COPULAS = word_set("isn't wasn't aren't weren't isnt wasnt arent werent")
_REJECTING = word_set("incorrect wrong false untrue mistaken impossible myth misconception")
_ABBREVIATIONS = word_set("dr mr mrs ms st prof jr sr vs mt no ca etc")
_LONGEST_ASIDE = 4

_STOP = re.compile(r"[.!?;:\n\u2014\u2013\u2026]|\s-\s")
_SPEECH_ENDS = re.compile(r"[!?;:\n\u2014\u2013\u2026]|\s-\s")
_REBUTTAL = re.compile(
    r"[^.?!]*[.,;]?\s*(?:but |and |however,? |although )?(?:that|this|it|which|the statement|the claim)"
    r"(?: is|'s| was)(?: not|n't)? (?:simply |actually )?"
    r"(?:(?<=not )(?:true|correct|right|the case|accurate)|(?<!not )(?:false|incorrect|wrong|untrue"
    r"|a (?:common )?(?:myth|misconception)))",
    re.IGNORECASE,
)
_ANSWERED_NO = re.compile(r"\W*\?\W*(?:no|nope|wrong|incorrect|false|not really)\b", re.IGNORECASE)


def stance(text: Wording, first: int, last: int) -> Stance:
    """How `text` mentions what stands from word `first` to word `last`, both included."""
    begin, end = _sentence(text.words, first, last)
    after = text.text[text.words[last].end :]
    if _ANSWERED_NO.match(after) or _REBUTTAL.match(after):
        return Stance.DENIED
    asked = bool(re.match(r"\W*\?", text.text[text.words[end - 1].end :]))
    # "Wasn't he at Hogwarts?" asks for a yes; its first word denies nothing.
    live = [
        cue
        for position in range(begin + asked, first)
        if (cue := _cue(text.words, position, begin)) and not _closed(text.words, position, first, end)
    ]
    doubts = live.count(Stance.DOUBTED)
    denials = len(live) - doubts + _rejected(text.words, begin, first, last, end)
    if denials and (denials + doubts) % 2:
        return Stance.DENIED
    if doubts and not denials:
        return Stance.DOUBTED
    return Stance.ASKED if asked else Stance.STATED


def _sentence(row: Sequence[Word], first: int, last: int) -> tuple[int, int]:
    begin = first
    while begin > 0 and not _stops(row, begin):
        begin -= 1
    end = last + 1
    while end < len(row) and not _stops(row, end):
        end += 1
    return begin, end


def _stops(row: Sequence[Word], position: int) -> bool:
    """Whether a sentence ends before `position`; ``Dr. Who`` and ``J. K. Rowling`` do not end one."""
    gap = row[position].gap
    if not _STOP.search(gap):
        return False
    before = row[position - 1]
    shortened = before.lower in _ABBREVIATIONS or (len(before.raw) == 1 and before.capital)
    return not shortened or bool(_SPEECH_ENDS.search(gap))


def _cue(row: Sequence[Word], position: int, begin: int) -> Stance | None:
    """What the word at `position` does to the words after it."""
    word = row[position].lower
    before = row[position - 1].lower if position > begin else ""
    after = row[position + 1].lower if position + 1 < len(row) else ""
    if word in _DOUBTS:
        return Stance.DOUBTED
    if after in _DENYING_PAIRS.get(word, ()):
        return Stance.DENIED
    if word == "non" and position + 1 < len(row) and row[position + 1].gap == "-":
        return Stance.DENIED
    if word == "no" and _is_interjection(row, position):
        return None
    if not (word in _DENIALS or word == "no" or word.endswith("n't")):
        return None
    if after in _CANCELS or before in {"or", "if", "why"}:
        return None
    ahead = [row[place].lower for place in range(position + 1, min(position + 4, len(row)))]
    if any(other in _PRESUPPOSING for other in ahead[:2]):
        return None
    return Stance.DOUBTED if any(other in _DOUBTING for other in ahead) else Stance.DENIED


def _is_interjection(row: Sequence[Word], position: int) -> bool:
    """``No, he came from Italy``: this *no* answers the question and denies nothing after it."""
    if position + 1 == len(row):
        return True
    following = row[position + 1]
    return following.gap.strip() != "" or following.lower in _CLAUSE_STARTS


def _closed(row: Sequence[Word], cue: int, stop: int, end: int) -> bool:
    """Whether the clause of the cue ends before `stop`."""
    if row[cue].lower == "non":
        return stop > cue + 1
    # "was not, as many believe, born in Warsaw": the two commas after the cue belong to an aside.
    asides = 2 if "," in row[cue + 1].gap else 0
    for position in range(cue + 1, stop + 1):
        word = row[position]
        if ")" in word.gap:
            return True
        if "," in word.gap:
            if asides:
                asides -= 1
            elif not _list_goes_on(row, cue, position, end):
                return True
        if position == stop:
            return False
        if word.lower == "nor" or (word.lower in _CONTRASTS and not _is_pair(row, position)):
            return True
        if word.lower == "and" and position + 1 < len(row) and _opens_clause(row[position + 1]):
            return True
    return False


def _is_pair(row: Sequence[Word], position: int) -> bool:
    """``rather than``, ``anything but``: the contrast word is part of another cue."""
    after = row[position + 1].lower if position + 1 < len(row) else ""
    before = row[position - 1].lower
    return after in _DENYING_PAIRS.get(row[position].lower, ()) or row[position].lower in _DENYING_PAIRS.get(
        before, ()
    )


def _opens_clause(word: Word) -> bool:
    if word.lower in _CLAUSE_STARTS:
        return True
    return not word.capital and word.lower.endswith(("ed", "ing"))


def _list_goes_on(row: Sequence[Word], cue: int, comma: int, end: int) -> bool:
    """Whether a cue reaches beyond a comma: ``not in Paris, Lyon or Warsaw``, ``not in Warsaw, Poland``."""
    segment_end = comma + 1
    while segment_end < end and "," not in row[segment_end].gap:
        segment_end += 1
    segment = row[comma:segment_end]
    if any(_opens_clause(word) for word in segment) or segment[0].lower in _CONTRASTS:
        return False
    if any(word.lower in {"or", "nor"} for word in row[comma:end]) or segment[0].lower == "and":
        return True
    return any(word.lower in _PREPOSITIONS for word in row[cue + 1 : comma])


def _rejected(row: Sequence[Word], begin: int, first: int, last: int, end: int) -> bool:
    """Whether the mention is the subject of a denial: ``Hogwarts was not his school``, ``Rome is wrong``."""
    lead = first
    while lead > begin and "," not in row[lead].gap:
        lead -= 1
    if any(word.lower not in _LEADS for word in row[lead:first]):
        return False
    verb, *rest = [word.lower for word in _after_aside(row[last + 1 : end])[:4]] or [""]
    if verb in _NEGATED_COPULAS:
        return not rest or rest[0] not in _CANCELS
    if verb not in _COPULAS:
        return False
    if rest and rest[0] in {"not", "never"}:
        return len(rest) < 2 or rest[1] not in _CANCELS
    return any(word in _REJECTING for word in rest[:2])


def _after_aside(row: Sequence[Word]) -> Sequence[Word]:
    """What follows a few words between two commas: ``(Hogwarts), however, (was not ...)``."""
    if not row or "," not in row[0].gap:
        return row
    ends = [position for position in range(1, min(len(row), _LONGEST_ASIDE + 1)) if "," in row[position].gap]
    return row[ends[0] :] if ends else row
