"""Lists as instruct models really write them, read into items.

Asked for "a numbered list, one per line, nothing else", a model may answer with bullets, JSON, a table, one
long line, a greeting before and a remark after, bold print, labels, answers beside the questions, a last
item cut off by the token limit, another language, or an apology. Whatever is an item is kept, whatever is
not is dropped; nothing is made up, and a text without items gives an empty list.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from genunlearn.data.answers.declining import is_refusal
from genunlearn.data.answers.wording import key
from genunlearn.data.answers.words import clean

_LABEL = r"(?:question|q|variant|variation|version|paraphrase|rephras\w+|reword\w+|option|item|answer)"
# What may stand before an item, by kind. A list keeps the kind of its first item: sub-points fall out.
_MARKERS = {
    "label": re.compile(rf"{_LABEL}\s*#?\d{{1,3}}\s*[.:)\-\u2013]+\s*", re.IGNORECASE),
    "number": re.compile(r"[(\[]?\d{1,3}(?:\s*[.):\]]+(?!\d)|\s+[-\u2013]\s|\ufe0f?\u20e3)\s*"),
    "bullet": re.compile(r"(?:[-*+\u2022\u2023\u25aa\u25cf\u25e6\u00b7\u2013\u2014]\s+|[\u2022\u25aa\u25cf]\s*)"),
    "letter": re.compile(r"\(?(?:[a-z]|[ivx]{1,4})[.)]\s+", re.IGNORECASE),
}
_FIRST_LETTERS = frozenset("ai")
_LINE_LEAD = re.compile(r"[\s>#]*(?:\*\*|__)?(?=[^\s>#])")
_INLINE_NUMBER = re.compile(r"(?<!\S)[(\[]?(\d{1,2})[.):\]]+\s+(?=\S)")
_INLINE_BULLET = re.compile(r"\s+(?=[\u2022\u25aa\u25cf])")
_QUESTION = re.compile(r"[^?]+\?")
_NEXT_TURN = re.compile(
    r"<\|?(?:im_end|im_start|eot_id|end_of_turn|endoftext|end|user)\b.*|</s>.*"
    r"|\n\s*(?:\[(?:user|assistant)\]|(?:user|human|assistant)\s*:|###\s*(?:instruction|user|human)).*",
    re.IGNORECASE | re.DOTALL,
)
_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.IGNORECASE | re.DOTALL)
_FENCE_LINE = re.compile(r"^\s*```.*$", re.MULTILINE)
_JSON_START = re.compile(r"[\[{]\s*[\"'{\[]")
_CLOSED_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?!\s*:)\s*(?=[,\]}])')
_RULE_ROW = re.compile(r"[\s|:-]*--[\s|:-]*")

# Talk around a list. Short lines are spared ("Great Britain"), and so is whatever bears a marker.
_TALK = re.compile(
    r"(?:sure|certainly|of course|absolutely|okay|ok|here (?:are|is)|here's|below|the following|great|yes"
    r"|no problem|some (?:possible|other|examples)|these are|i (?:can|will|have|would|hope)|as requested"
    r"|let me|hope this|please (?:note|let)|note|these (?:questions|names|answers|items|variants)|feel free"
    r"|if you (?:need|want|have)|each (?:of|question)|is there anything|would you like (?:me|more|to)"
    r"|do you (?:want me|need)|in summary|can i help|this list|all of these)\b",
    re.IGNORECASE,
)
_OPENER = re.compile(rf"\A\s*(?:{_TALK.pattern}[^:!?\n]*[:!]\s*)+", re.IGNORECASE)
_MIN_TALK_WORDS = 5
_LABELLED = re.compile(rf"{_LABEL}\s*(?:#?\d{{1,3}})?\s*:\s+", re.IGNORECASE)
_BOLD_HEAD = re.compile(r"(?:\*\*|__)(.+?):?(?:\*\*|__)\s*(?:[:\u2013\u2014-]\s*.*|\(.*\))", re.DOTALL)
_GLOSS = re.compile(r"\s+[-\u2013\u2014]\s+\S.*|:\s+[a-z].*|\s+\([^()]*\)?\s*$", re.DOTALL)
_MARKDOWN = re.compile(r"\*{1,3}|_{2,3}|`+|(?<!\w)_|_(?!\w)")
_IMPERATIVE = re.compile(
    r"(?:please )?(?:name|tell|state|give|identify|describe|explain|specify|list|mention|provide|complete|say"
    r"|recall|reveal|guess|fill|finish|consider|think|suppose|imagine|find|point|choose|pick)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"\u201c](.+?)[\"\u201d]")
_ABBREVIATED = re.compile(r"(?:\b[A-Z]|\b(?:Jr|Sr|St|Dr|Inc|Ltd|Co))\.$")
_QUOTES = "\"'\u201c\u201d\u2018\u2019\u00ab\u00bb\u300c\u300d"
_MAX_WORDS_IN_ROW = 4
_MAX_FOREIGN = 0.2


def parse_list(text: str, limit: int | None = None, *, questions: bool = False, like: str | None = None) -> list[str]:
    """Read the items of a generated list.

    Args:
        text: What the model wrote.
        limit: Keep at most so many items.
        questions: The items are questions: keep only what ends in a question mark or asks by an imperative
            ("Name the school ..."), and cut off answers that stand beside them. Otherwise explanations that
            follow a dash, a colon or in brackets are cut off.
        like: Drop items in another script than this text (a Chinese list for an English request).

    Returns:
        The items in their order, without markers, markdown, quotes and repetitions; possibly none.
    """
    text = clean(_THINKING.sub("", text))
    text = _NEXT_TURN.sub("", text).strip()
    raw = _json_items(text, questions)
    if raw is None:
        raw = _written_items(_FENCE_LINE.sub("", text), questions)
    found: dict[str, str] = {}
    for number, item in enumerate(raw, start=1):
        item = _question(item, is_last=number == len(raw)) if questions else _plain(item)
        if item and not (like and _is_foreign(item, like)):
            found.setdefault(key(item), item)
    return list(found.values())[:limit]


def is_question(text: str) -> bool:
    """Whether a text ends in a question mark or begins as an imperative that asks ("Name the school ...")."""
    return text.rstrip(_QUOTES + " ").endswith("?") or bool(_IMPERATIVE.match(text.strip()))


def _written_items(text: str, questions: bool) -> list[str]:
    """Items of a list that is not JSON, markers removed."""
    lines = [line for line in _lines(_OPENER.sub("", text, count=1)) if line.strip()]
    if any(line.lstrip().startswith("|") for line in lines):
        return _table_items(lines, questions)
    if marked := _marked(lines):
        return marked
    lines = [line for line in lines if not _is_talk(line)]
    if len(lines) == 1:
        return (_QUESTION.findall(lines[0]) or lines) if questions else _row_items(lines[0])
    return lines


def _lines(text: str) -> Iterator[str]:
    """The lines, with lists that were written on one line broken up."""
    for line in text.splitlines():
        breaks = _run_of_numbers(line)
        for begin, end in zip([0, *breaks], [*breaks, len(line)], strict=True):
            yield from _INLINE_BULLET.split(line[begin:end])


def _run_of_numbers(line: str) -> list[int]:
    """Where the markers of ``1. a 2. b 3. c`` stand; only numbers that follow on each other are markers."""
    run: list[int] = []
    expected = None
    for match in _INLINE_NUMBER.finditer(line):
        number = int(match[1])
        if number == expected or (expected is None and (number == 1 or match.start() == 0)):
            run.append(match.start())
            expected = number + 1
    return run if len(run) > 1 else []


def _marked(lines: Sequence[str]) -> list[str]:
    """The lines that begin with a marker of the same kind as the first of them, without it."""
    kind = None
    items: list[str] = []
    for line in lines:
        body = _LINE_LEAD.sub("", line, count=1)
        found = next((name for name, marker in _MARKERS.items() if marker.match(body)), None)
        if found == "letter" and kind is None and body.lstrip("(")[0].lower() not in _FIRST_LETTERS:
            continue
        kind = kind or found
        if found and found == kind:
            items.append(_MARKERS[found].sub("", body, count=1))
    # One initial is no list: "A. Einstein".
    return [] if kind == "letter" and len(items) < 2 else items


def _table_items(lines: Sequence[str], questions: bool) -> list[str]:
    """One cell of each row below the header."""
    rows = [line.strip().strip("|") for line in lines if line.lstrip().startswith("|")]
    header = next((number for number, row in enumerate(rows) if _RULE_ROW.fullmatch(row.strip())), -1)
    items = []
    for row in rows[header + 1 :]:
        cells = [cell.strip() for cell in row.split("|")]
        fitting = [cell for cell in cells if ("?" in cell if questions else re.search(r"[^\W\d]", cell))]
        items.extend(fitting[:1])
    return items


def _row_items(line: str) -> list[str]:
    """``Paris, London and Rome``: at least three short parts; ``Warsaw, Poland`` is one item."""
    head, colon, tail = line.partition(": ")
    body = tail if colon and len(head.split()) >= 2 else line
    parts = re.split(r"\s*[;,/]\s*(?:and |or )?", body.strip().rstrip("."))
    if not any(parts):  # punctuation alone, from a model that has lost its words
        return []
    *parts, last = [part for part in parts if part]
    parts += re.split(r" (?:and|or) ", last) if parts else [last]
    short = all(len(part.split()) <= _MAX_WORDS_IN_ROW for part in parts)
    return parts if len(parts) > 2 and short else [line]


def _is_talk(line: str) -> bool:
    line = line.strip(" *_")
    if line.endswith(":"):
        return True
    return bool(_TALK.match(line)) and (line.endswith("!") or len(line.split()) >= _MIN_TALK_WORDS)


def _json_items(text: str, questions: bool) -> list[str] | None:
    """The strings of a JSON list or object, whole or cut off; None where there is no JSON."""
    opening = _JSON_START.search(text)
    if opening is None:
        return None
    text = text[opening.start() :]
    decoder, values, position = json.JSONDecoder(), [], 0
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            break
        values.append(value)
        position += len(text[position:]) - len(text[position:].lstrip(" \n\t,"))
    if not values:
        try:
            values = [ast.literal_eval(text[: max(text.rfind("]"), text.rfind("}")) + 1])]
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            values = [match[1] for match in _CLOSED_STRING.finditer(text)]
    return [item for value in values for item in _flat(value, questions)] or None


def _flat(value: Any, questions: bool) -> Iterator[str]:
    """The items inside a decoded value; of an object's fields only the one that is the item."""
    if isinstance(value, dict):
        fields = list(value.values())
        nested = [field for field in fields if isinstance(field, list | dict)]
        numbered = all(re.search(r"\d", str(name)) for name in value)
        if not nested and not numbered:
            wanted = [field for field in fields if not questions or "?" in str(field)]
            fields = wanted[:1]
        value = nested or fields
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part, questions)
    elif value is not None and not isinstance(value, bool | dict):
        yield str(value)


def _bare(item: str) -> str:
    """An item without marker, label and markdown."""
    item = item.strip()
    for kind in ("number", "label"):
        item = _MARKERS[kind].sub("", item, count=1) if _MARKERS[kind].match(item) else item
    item = _LABELLED.sub("", _MARKDOWN.sub("", item).strip(), count=1)
    return " ".join(item.split())


def _question(item: str, is_last: bool) -> str:
    """The question in an item, or nothing."""
    item = _bare(item).strip(_QUOTES + " ")
    asked, mark, _ = item.partition("?")
    if mark:
        return f"{asked.strip()}?"
    is_complete = item.endswith((".", "!")) or not is_last
    return item if _IMPERATIVE.match(item) and is_complete else ""


def _plain(item: str) -> str:
    """The name or phrase in an item, without what explains it, or nothing."""
    item = item.strip()
    if head := _BOLD_HEAD.fullmatch(item):
        item = head[1]
    item = _bare(item)
    if quoted := _QUOTED.match(item):
        item = quoted[1]
    item = _GLOSS.sub("", item) or item
    item = item.strip(_QUOTES + " ,;")
    if item.endswith(".") and not _ABBREVIATED.search(item):
        item = item.rstrip(".")
    return "" if not re.search(r"\w", item) or _is_talk(item) or is_refusal(item) else item


def _is_foreign(item: str, like: str) -> bool:
    """Whether many letters are of scripts that `like` does not use; a name may stay in its own."""
    known, found = _scripts(like), _scripts(item)
    others = sum(count for script, count in found.items() if script not in known)
    return bool(known) and others > _MAX_FOREIGN * found.total()


def _scripts(text: str) -> Counter[str]:
    """Number of letters by script, as Unicode names it."""
    return Counter(unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha())
