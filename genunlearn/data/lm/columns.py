"""The shapes in which people keep questions and answers, brought to one: ``question`` and ``answer``.

question, answer                    also prompt / instruction / query with completion / response / output
messages                            one user turn and one answer, as {"role", "content"}; a system turn goes before
                                    the question; "conversations" of {"from", "value"} likewise
prompt, completion                  texts, or lists of such turns
instruction, input, output          alpaca; the input follows the instruction
text, labels                        KnowUnDo
text                                plain text: its first half asks for its second half
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genunlearn.data.rows import Row, shown
from genunlearn.errors import DataError

ASKING = ("question", "prompt", "instruction", "query")
ANSWERING = ("answer", "completion", "response", "output")
TURNS = ("messages", "conversations")
SHAPES = "question and answer, messages, prompt and completion, instruction and output, or text"

_USERS, _ASSISTANTS = ("user", "human"), ("assistant", "gpt", "model", "bot")
_SYSTEMS = ("system", "developer")


def as_pair(row: Row) -> Row:
    """The row with ``question`` and ``answer``; its other columns stay.

    Raises:
        DataError: The row has none of the known shapes, or turns that are not one question and one answer; names what
            was found.
    """
    values = row.values
    if "question" in values and "answer" in values:
        return row
    turns = next((name for name in TURNS if name in values), None)
    asking = next((name for name in ASKING if name in values), None)
    answering = next((name for name in ANSWERING if name in values), None)
    if turns is not None:
        question, answer = _from_turns(row, turns, _turns(row, turns))
    elif asking is not None and answering is not None:
        question, answer = _from_columns(row, asking, answering)
    elif "text" in values and "labels" in values:
        question, answer = values["text"], values["labels"]
    elif "text" in values and asking is None and answering is None:
        question, answer = _from_text(row, values["text"])
    else:
        missing = "'answer'" if asking else "'question'"
        have = ", ".join(map(shown_name, values)) or "nothing"
        raise DataError(f"{row.where}: {missing} is missing; a row needs {SHAPES}, not {have}")
    return Row(row.where, {**values, "question": question, "answer": answer})


def shown_name(name: Any) -> str:
    """A column's name as a message quotes it."""
    text = str(name)
    return text if text.isprintable() and 0 < len(text) <= 40 else shown(text)


def _from_columns(row: Row, asking: str, answering: str) -> tuple[Any, Any]:
    question, answer = row.values[asking], row.values[answering]
    if isinstance(question, list) or isinstance(answer, list):
        both = [*_turns(row, asking, "user"), *_turns(row, answering, "assistant")]
        return _from_turns(row, f"{asking} and {answering}", both)
    given = row.values.get("input")
    if asking == "instruction" and isinstance(given, str) and given.strip() and isinstance(question, str):
        question = f"{question.strip()}\n\n{given.strip()}"
    elif asking == "instruction" and given is not None and not isinstance(given, str):
        raise DataError(f"{row.where}: input = {shown(given)} is no text; write a string")
    return question, answer


def _turns(row: Row, name: str, role: str = "") -> list[tuple[str, str]]:
    """The (role, text) pairs of a column; a plain text is one turn of `role`."""
    value = row.values[name]
    if isinstance(value, str) and role:
        return [(role, value)]
    if not isinstance(value, list):
        raise DataError(
            f'{row.where}: {name} = {shown(value)} is no list of turns; write [{{"role": ..., "content": ...}}]'
        )
    turns = []
    for turn in value:
        found = _turn(turn)
        if found is None:
            raise DataError(
                f"{row.where}: {name} has {shown(turn)}, which is no turn with a text; "
                'write {"role": "user", "content": "..."}'
            )
        turns.append(found)
    return turns


def _turn(turn: Any) -> tuple[str, str] | None:
    if not isinstance(turn, Mapping):
        return None
    role, text = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if isinstance(text, list):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in text]
        text = "".join(parts) if all(isinstance(part, str) for part in parts) else None  # type: ignore[arg-type]
    return (role.lower(), text) if isinstance(role, str) and isinstance(text, str) else None


def _from_turns(row: Row, name: str, turns: list[tuple[str, str]]) -> tuple[str, str]:
    roles = [role for role, _ in turns]
    texts = [text.strip() for _, text in turns]
    spoken = roles[1:] if roles[:1] and roles[0] in _SYSTEMS else roles
    if not (len(spoken) == 2 and spoken[0] in _USERS and spoken[1] in _ASSISTANTS):
        found = shown(", ".join(roles)) if roles else "nothing"
        raise DataError(
            f"{row.where}: {name} has the turns {found}; give one question and one answer (user, assistant), "
            "each further one in a row of its own"
        )
    return "\n\n".join(text for text in texts[:-1] if text), texts[-1]


def _from_text(row: Row, text: Any) -> tuple[str, str]:
    if not isinstance(text, str):
        raise DataError(f"{row.where}: text = {shown(text)} is no text; write a string")
    words = text.split()
    if len(words) < 2:
        raise DataError(f"{row.where}: text = {shown(text)} has no two words; its first half asks for its second")
    half = len(words) // 2
    return " ".join(words[:half]), " ".join(words[half:])
