"""Conversations as token ids: the model's own chat template, or a plain form for models without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Message = dict[str, str]
Messages = Sequence[Message]

PLAIN_ROLES = {"system": "", "user": "Question: ", "assistant": "Answer: "}

OPENINGS = ("A", "a", "1")
"""How answers begin: ids of a prompt that one of these would change do not belong to the prompt."""

ASKED, ANSWERED, ASKED_AGAIN = "qzqa", "qzqb", "qzqc"
"""Messages that stand in for real ones where the template itself is read."""


@dataclass(frozen=True)
class Turn:
    """A prompt and its answer as ids.

    Attributes:
        prompt: What is given.
        answer: What the model is to write: the answer and its end of turn.
        ends: How many of the answer's last ids are the end of turn.
    """

    prompt: list[int]
    answer: list[int]
    ends: int


@dataclass(frozen=True)
class TurnMarks:
    """What tells that an answer is over.

    Attributes:
        end: Text that follows an answer, up to and including the first special token.
        ids: Special tokens that end a turn or begin another.
        texts: Marks of a further turn that are plain text.
    """

    end: str
    ids: tuple[int, ...]
    texts: tuple[str, ...]


class ChatFormat:
    """Turns messages into the ids of a prompt and of its answer.

    An answer's ids are those that it has in the whole conversation, not those of its text alone: many tokenizers mark
    the beginning of a text, and a model never writes that mark within one. Texts are compared by their ids, which
    every tokenizer has, while offsets are those of fast ones alone. A token on both sides of the boundary belongs to
    the answer, so that a prompt has the same ids in training, where an answer follows, and in generation, where none
    does yet.
    """

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: a transformers tokenizer, with or without a chat template."""
        self.tokenizer = tokenizer
        self._turns: dict[tuple, Turn] = {}
        self._prompts: dict[str, list[int]] = {}
        self._latest: tuple[tuple | None, str] = None, ""  # messages and their text

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer brings a chat template."""
        return bool(self.tokenizer.chat_template)

    # ---- texts ---------------------------------------------------------------------------------------------

    def prompt_text(self, messages: Messages) -> str:
        """The text up to where the assistant's answer begins."""
        if self.has_template:
            return self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        lines = [PLAIN_ROLES[m["role"]] + m["content"] for m in messages]
        return "\n".join([*lines, PLAIN_ROLES["assistant"].strip()])

    def answer_text(self, messages: Messages, answer: str) -> str:
        """The assistant's answer as the template writes it, up to and including the end of its turn."""
        return self._content(messages, answer, self.prompt_text(messages)) + self.marks.end

    def _content(self, messages: Messages, answer: str, prompt: str) -> str:
        """The answer to `prompt` as the template writes it, without the end of its turn."""
        if not self.has_template:
            return f" {answer}"
        whole = self._render([*messages, {"role": "assistant", "content": answer}])
        if whole == prompt or not (whole.startswith(prompt) and whole.endswith(self._tail)):
            return answer
        written = whole[len(prompt) : len(whole) - len(self._tail)]
        # Some templates cut a thought off from turns that are over: here it is what the model is to write.
        is_cut = answer.strip() not in written and answer.rstrip().endswith(written.strip())
        return answer if is_cut else written

    @cached_property
    def marks(self) -> TurnMarks:
        """What the template writes after an answer and before the next question."""
        own = self.tokenizer.eos_token or ""
        if not self.has_template:
            return TurnMarks(own, self._special(own), ("\n" + PLAIN_ROLES["user"].rstrip(),))
        special = self._special(self._tail)
        if special:
            token = self.tokenizer.convert_ids_to_tokens(special[0])
            end = self._tail[: self._tail.index(token) + len(token)]
        else:
            end = self._tail.rstrip() + own
        between = self._between()
        following = self._special(between)
        if not set(special[:1]) <= set(following):  # the last turn ends in another way than those before it
            following, between = (), ""
        texts = {self._tail.strip() if not special else "", self._opening(between)}
        ids = {*special[:1], *following, *self._special(own)} - set(self._special(self._lead))
        return TurnMarks(end, tuple(sorted(ids)), tuple(sorted(texts - {""})))

    @cached_property
    def _tail(self) -> str:
        """Everything that the template writes after the last answer."""
        turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]
        _, found, tail = self._render(turns).rpartition(ANSWERED)
        return tail if found else ""

    @cached_property
    def _lead(self) -> str:
        """What the template writes between a prompt and the answer."""
        asked = [{"role": "user", "content": ASKED}]
        return self._content(asked, ANSWERED, self.prompt_text(asked)).partition(ANSWERED)[0]

    def _between(self) -> str:
        """What the template writes between an answer and the next question."""
        texts = (("user", ASKED), ("assistant", ANSWERED), ("user", ASKED_AGAIN))
        whole = self._render([{"role": role, "content": text} for role, text in texts])
        return whole.partition(ANSWERED)[2].partition(ASKED_AGAIN)[0]

    def _opening(self, between: str) -> str:
        """The mark of a further turn, where it is plain text: what stands after the last special token."""
        if not between.strip():
            return ""
        special = self._special(between)
        if not special:
            tail = self._tail.strip()
            return between.rstrip().removeprefix(tail) if tail else between.rstrip()
        first = self.tokenizer.convert_ids_to_tokens(special[0])
        return between.partition(first)[2].rstrip() if len(special) == 1 else ""

    def _render(self, turns: Messages) -> str:
        return self.tokenizer.apply_chat_template(list(turns), tokenize=False)

    # ---- ids -----------------------------------------------------------------------------------------------

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Token ids of `prompt_text` that stay whatever answer follows; the template writes any special tokens."""
        return self._prompt_ids(self.prompt_text(messages))

    def _prompt_ids(self, text: str) -> list[int]:
        if text not in self._prompts:
            ids = self._encode(text)
            is_divided = bool(ids) and text.endswith(self._dividers.get(ids[-1], text + "."))
            for opening in () if is_divided else OPENINGS:
                ids = _common(ids, self._encode(text + self._lead + opening))
            self._prompts[text] = ids
        return self._prompts[text]

    def answer_ids(self, messages: Messages, answer: str) -> list[int]:
        """Token ids of `answer_text`, as they are in the whole conversation."""
        return self.turn(messages, answer).answer

    def turn(self, messages: Messages, answer: str) -> Turn:
        """Ids of the prompt and of `answer`, cut out of the conversation that holds both.

        The prompt's ids are those of `prompt_ids`, unless the answer begins with something that joins with the end
        of the prompt in a way that no letter and no digit does, such as a line end after a line end.
        """
        asked = tuple((message["role"], message["content"]) for message in messages)
        key = (*asked, answer)
        if key not in self._turns:
            if asked != self._latest[0]:  # many answers to a question come one after the other
                self._latest = asked, self.prompt_text(messages)
            self._turns[key] = self._cut(messages, answer, self._latest[1])
        return self._turns[key]

    def continued(self, messages: Messages, opening: str, answer: str) -> Turn:
        """The turn that says `opening` and then `answer`, with the ids of the opening in the prompt.

        A token that holds both of the opening's last and the answer's first letters belongs to the answer.
        """
        whole, said = self.turn(messages, opening + answer), self.turn(messages, opening.rstrip()).answer
        start = len(_common(whole.answer[: -whole.ends - 1], said))
        return Turn(whole.prompt + whole.answer[:start], whole.answer[start:], whole.ends)

    def _cut(self, messages: Messages, answer: str, prompt: str) -> Turn:
        text = prompt + self._content(messages, answer, prompt)
        whole = self._encode(text + self.marks.end)
        start = len(_common(self._prompt_ids(prompt), whole))
        if whole and self._dividers.get(whole[-1]) == self.marks.end and text == text.rstrip():
            stop = len(whole) - 1
        else:
            stop = len(_common(self._encode(text), whole))
        return Turn(whole[:start], whole[start:], len(whole) - max(start, stop))

    @cached_property
    def _dividers(self) -> dict[int, str]:
        """Special tokens, at which a text is cut before it is read: ids on one side do not depend on the other."""
        added = self.tokenizer.added_tokens_decoder
        return {token: each.content for token, each in added.items() if each.special and not each.single_word}

    def _special(self, text: str) -> tuple[int, ...]:
        """Ids of the special and added tokens in `text`, in their order."""
        added = self.tokenizer.get_added_vocab().values()
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else ()
        return tuple(token for token in ids if token in added)

    def _encode(self, text: str) -> list[int]:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        start = self.tokenizer.bos_token_id
        needs_start = not self.has_template and start is not None and ids[:1] != [start]
        return [start, *ids] if needs_start else ids


def _common(first: list[int], second: list[int]) -> list[int]:
    """The longest beginning that two lists share."""
    length = next((n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
    return first[:length] if length is not None else min(first, second, key=len)
