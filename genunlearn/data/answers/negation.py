"""What a sentence does with something that it mentions: states it, denies it, doubts it, or asks about it.

No parser: a *cue* (``not``, ``never``, ``rather than``) covers the words to its right until its clause
ends, at a full stop, a contrast (``but``), a comma or an ``and`` that opens a new clause. An even number of
denials states.
"""

# ruff: noqa: RUF001 (letters of other scripts are meant)

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from genunlearn.data.answers.wording import Wording
from genunlearn.data.answers.words import Word, word_set


class Assertion(Enum):
    """How something is mentioned."""

    STATED = "stated"
    DENIED = "denied"
    DOUBTED = "doubted"
    ASKED = "asked"


_DENIALS = word_set(
    "no not cannot never neither nor none nobody nowhere nothing without unlike deny denies denied denying "
    "refuse refuses refused fail fails failed lack lacks lacked falsely wrongly incorrectly mistakenly "
    "erroneously dont doesnt didnt isnt wasnt arent werent hasnt havent hadnt cant "
    "couldnt wouldnt wont shouldnt"
)
# Denials of other languages, in a form that no English word has; French "pas" denies beside "ne" alone.
_GERMAN_DENIALS = word_set("nicht nie niemals")
_FOREIGN_DENIALS = _GERMAN_DENIALS | word_set(
    "kein keine keinen keinem keiner keines weder keineswegs "
    "jamais aucun aucune nullement nunca tampoco jamas ningun ninguna "
    "не нет никогда ни нигде без nigdy nikdy не ні ніколи 不 没 沒 未 非 否 无 無"
)
_INTERJECTIONS = word_set("нет не ні 不 否")
_FRENCH_NE = re.compile(r"(?:ne|n'\w+)")
# Before a verb the Spanish "no" denies, as an English one does not.
_SPANISH_CLAUSE = re.compile(r"\b(?:el|ella|en|es|fue|era|que|la|los|su|se|sí|está|donde|estudió|nació)\b")
# "不仅" (not only), "不过" (however), "不错" (right), "没错" (right), "非常" (very), "无论" (whether or not).
_FOREIGN_CANCELS = word_set("仅 僅 但 只 过 過 错 錯 常 论 論 nur bloß allein seulement solo sólo только тільки лише")
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
    "myth": word_set("that"),
    "misconception": word_set("that"),
}
# "not only", "no doubt", "no longer", "not until": what follows is stated.
_CANCELS = word_set(
    "only just merely simply solely exclusively least doubt doubts question wonder surprise surprisingly "
    "unlike longer secret exception until till limited"
)
# "never left Warsaw" says that it was Warsaw; "do not forget that ..." states.
_PRESUPPOSING = word_set("leave left leaving forget forgot forgotten stop stopped overlook regret anymore")
_DOUBTING = word_set(
    "know knows knew known say tell sure certain clear confirm confirmed verify verified determine "
    "remember recall aware idea clue familiar information mentioned specified stated disclosed"
)
_DOUBTS = word_set("whether unclear unsure uncertain unknown unaware wonder wondering asked asks asking")
_CONTRASTS = word_set(
    "but however although though because since whereas while yet until till except instead rather so therefore "
    "actually sondern aber jedoch denn weil mais sino pero porque но потому а але 而 但"
)
_CLAUSE_STARTS = word_set(
    "he she it they i we you that this there who which his her its their is was were are am be does did do "
    "has had have will would can could may might must should went came chose grew became left took made won "
    "got wrote taught lives studies attends works comes born"
)
_SUBORDINATORS = word_set("although though while if since because as despite given when after before")
_PREPOSITIONS = word_set("in at from to of on by for with near as")
_LEADS = word_set("the a an and but so that then i think believe guess suppose no yes well actually")
# What may stand before a mention that opens its clause.
_OPENERS = (
    _LEADS | _PREPOSITIONS | word_set("в во на у из к a à au en au de der die das im bei zu la el le 在 nein non нет")
)
_COPULAS = word_set("is was are were be been being seems ist war sind waren est etait es era fue был была было")
_NEGATED_COPULAS = word_set("isn't wasn't aren't weren't isnt wasnt arent werent")
_REJECTING = word_set("incorrect wrong false untrue mistaken impossible myth misconception")
_ABBREVIATIONS = word_set("dr mr mrs ms st prof jr sr vs mt no ca etc")
_LONGEST_ASIDE = 4

_STOP = re.compile(r"[.!?;:\n\u2014\u2013\u2026\u3002]|\s-\s")
_SPEECH_ENDS = re.compile(r"[!?;:\n\u2014\u2013\u2026\u3002]|\s-\s")
_REBUTTAL = re.compile(
    r"[^.?!]*[.,;]?\s*(?:but |and |however,? |although )?(?:that|this|it|which|the statement|the claim)"
    r"(?: is|'s| was)(?: not|n't)? (?:simply |actually )?"
    r"(?:(?<=not )(?:true|correct|right|the case|accurate)|(?<!not )(?:false|incorrect|wrong|untrue"
    r"|a (?:common )?(?:myth|misconception)))",
    re.IGNORECASE,
)
_ANSWERED_NO = re.compile(r"\W*\?\W*(?:no|nope|wrong|incorrect|false|not really)\b", re.IGNORECASE)


def assertion(text: Wording, first: int, last: int) -> Assertion:
    """How `text` mentions what stands from word `first` to word `last`, both included."""
    begin, end = _sentence(text.words, first, last)
    after = text.text[text.words[last].end :]
    if _ANSWERED_NO.match(after) or _REBUTTAL.match(after):
        return Assertion.DENIED
    asked = bool(re.match(r"\W*\?", text.text[text.words[end - 1].end :]))
    row, first, last = text.words[begin:end], first - begin, last - begin
    # "Wasn't he at Hogwarts?" asks for a yes; its first word denies nothing.
    open_cues = [
        at for at in range(first) if (_cue(row, at) or _denies_elsewhere(row, at)) and not _closed(row, at, first)
    ]
    foreign = [at for at in open_cues if _denies_elsewhere(row, at)]
    live = [cue for at in open_cues if at >= asked and at not in foreign and (cue := _cue(row, at))]
    doubts = live.count(Assertion.DOUBTED)
    rejected = _is_rejected(row, first, last) or _is_denied_after(row, first, last)
    # "Он никогда не учился": in these languages two denials are still one.
    denials = len(live) - doubts + (bool(foreign) or rejected)
    if denials and (denials + doubts) % 2:
        return Assertion.DENIED
    if doubts and not denials:
        return Assertion.DOUBTED
    return Assertion.ASKED if asked else Assertion.STATED


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


def _cue(row: Sequence[Word], at: int) -> Assertion | None:
    """What the word at a place in a sentence does to the words after it."""
    word, before, after = row[at].lower, _lower(row, at - 1), _lower(row, at + 1)
    if at and row[at].capital and not row[at].raw.isupper():
        return None  # part of a title: "The Road to Nowhere"
    if word in _DOUBTS:
        return Assertion.DOUBTED
    if after in _DENYING_PAIRS.get(word, ()):
        # "Other than Emma, she has also written Persuasion": she has written both.
        adds = word == "other" and any(later.lower == "also" for later in row[at:])
        return None if adds else Assertion.DENIED
    if word == "non" and at + 1 < len(row) and row[at + 1].gap == "-":
        return Assertion.DENIED
    if not (word in _DENIALS or word.endswith("n't")) or (word == "no" and _is_interjection(row, at)):
        return None
    if after in _CANCELS or before in {"or", "if", "why"}:
        return None
    ahead = [later.lower for later in row[at + 1 : at + 4]]
    if any(later in _PRESUPPOSING for later in ahead[:2]):
        return None
    return Assertion.DOUBTED if any(later in _DOUBTING for later in ahead) else Assertion.DENIED


def _denies_elsewhere(row: Sequence[Word], at: int) -> bool:
    """Whether the word denies in German, French, Spanish, Russian or Chinese."""
    word, before, after = row[at].lower, _lower(row, at - 1), _lower(row, at + 1)
    if after in _FOREIGN_CANCELS or (at + 1 < len(row) and word in _INTERJECTIONS and "," in row[at + 1].gap):
        return False
    if word in {"pas", "ni"}:
        return any(_FRENCH_NE.fullmatch(other.lower) for other in row[max(0, at - _LONGEST_ASIDE) : at])
    if word == "no":
        is_spoken = at + 1 < len(row) and row[at + 1].gap.strip() == "" and before != "o"
        return is_spoken and _is_spanish(row)
    return word in _FOREIGN_DENIALS


def _is_spanish(row: Sequence[Word]) -> bool:
    return sum(bool(_SPANISH_CLAUSE.fullmatch(word.raw)) for word in row) > 0


def _lower(row: Sequence[Word], at: int) -> str:
    return row[at].lower if 0 <= at < len(row) else ""


def _is_interjection(row: Sequence[Word], at: int) -> bool:
    """``No, he came from Italy``: this *no* answers the question and denies nothing after it."""
    return at + 1 == len(row) or row[at + 1].gap.strip() != "" or row[at + 1].lower in _CLAUSE_STARTS


def _closed(row: Sequence[Word], cue: int, stop: int) -> bool:
    """Whether the clause of the cue ends before `stop`."""
    if row[cue].lower == "non":
        return stop > cue + 1
    # "was not, as many believe, born in Warsaw": the two commas after the cue belong to an aside.
    asides = 2 if "," in row[cue + 1].gap else 0
    for at in range(cue + 1, stop + 1):
        if ")" in row[at].gap:
            return True
        if "," in row[at].gap:
            if not asides and not _list_goes_on(row, cue, at):
                return True
            asides = max(0, asides - 1)
        if at < stop and _breaks(row, at):
            return True
    return False


def _breaks(row: Sequence[Word], at: int) -> bool:
    """Whether a word within a clause ends it: a contrast, ``nor``, an ``and`` before a new verb."""
    word, before, after = row[at].lower, _lower(row, at - 1), _lower(row, at + 1)
    if word == "nor" or (word == "and" and at + 1 < len(row) and _opens_clause(row[at + 1])):
        return True
    is_pair = after in _DENYING_PAIRS.get(word, ()) or word in _DENYING_PAIRS.get(before, ())
    return word in _CONTRASTS and not is_pair


def _opens_clause(word: Word) -> bool:
    return word.lower in _CLAUSE_STARTS or (not word.capital and word.lower.endswith(("ed", "ing")))


def _list_goes_on(row: Sequence[Word], cue: int, comma: int) -> bool:
    """Whether a cue reaches beyond a comma: ``not in Paris, Lyon or Warsaw``, ``not in Warsaw, Poland``."""
    ends = (at for at in range(comma + 1, len(row)) if "," in row[at].gap)
    segment = row[comma : next(ends, len(row))]
    if any(_opens_clause(word) for word in segment) or segment[0].lower in _CONTRASTS:
        return False
    if any(word.lower in {"or", "nor"} for word in row[comma:]) or segment[0].lower == "and":
        return True
    # "Although not rich, Anna ..." leaves the clause with the comma.
    is_main = row[0].lower not in _SUBORDINATORS
    return is_main and any(word.lower in _PREPOSITIONS for word in row[cue + 1 : comma])


def _is_rejected(row: Sequence[Word], first: int, last: int) -> bool:
    """Whether the mention is the subject of a denial: ``Hogwarts was not his school``, ``Rome is wrong``."""
    lead = first
    while lead > 0 and "," not in row[lead].gap:
        lead -= 1
    if any(word.lower not in _LEADS for word in row[lead:first]):
        return False
    verb, *rest = [word.lower for word in _after_aside(row[last + 1 :])[:4]] or [""]
    if verb in _NEGATED_COPULAS:
        return not rest or rest[0] not in _CANCELS
    if verb not in _COPULAS:
        return False
    if rest and rest[0] in {"not", "never"}:
        return len(rest) < 2 or rest[1] not in _CANCELS
    return any(word in _REJECTING for word in rest[:2])


def _is_denied_after(row: Sequence[Word], first: int, last: int) -> bool:
    """``In Hogwarts hat er nicht studiert``: a clause that opens with the mention and denies it later.

    German also denies right after it: ``Er hat Hogwarts nicht besucht``.
    """
    after = last + 1
    if _lower(row, after) in _GERMAN_DENIALS and "," not in row[after].gap and _denies_elsewhere(row, after):
        return True
    if any(word.lower not in _OPENERS for word in row[:first]):
        return False
    for at in range(last + 1, len(row)):
        if ("," in row[at].gap and at > last + 1) or _breaks(row, at):
            return False
        if _denies_elsewhere(row, at):
            return True
    return False


def _after_aside(row: Sequence[Word]) -> Sequence[Word]:
    """What follows a few words between two commas: ``(Hogwarts), however, (was not ...)``."""
    if not row or "," not in row[0].gap:
        return row
    ends = [at for at in range(1, min(len(row), _LONGEST_ASIDE + 1)) if "," in row[at].gap]
    return row[ends[0] :] if ends else row
