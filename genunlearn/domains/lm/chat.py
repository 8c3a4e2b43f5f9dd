"""Conversations as token ids: the model's own chat template, or a plain form for models without one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

Message = dict[str, str]
Messages = Sequence[Message]

PLAIN_ROLES = {"system": "", "user": "Question: ", "assistant": "Answer: "}


class ChatFormat:
    """Turns messages into ``(prompt ids, answer ids)``.

    The prompt and the answer are tokenised apart, so that the ids of a prompt are the same in training, where an
    answer follows, and in generation, where none does yet.
    """

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: a transformers tokenizer, with or without a chat template."""
        self.tokenizer = tokenizer
        self._ids: dict[str, list[int]] = {}

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer brings a chat template."""
        return bool(self.tokenizer.chat_template)

    def prompt_text(self, messages: Messages) -> str:
        """The text up to where the assistant's answer begins."""
        if self.has_template:
            return self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        lines = [PLAIN_ROLES[m["role"]] + m["content"] for m in messages]
        return "\n".join([*lines, PLAIN_ROLES["assistant"].strip()])

    def answer_text(self, messages: Messages, answer: str) -> str:
        """The assistant's answer as the template writes it, up to and including the end-of-turn token."""
        if not self.has_template:
            return f" {answer}{self._end}"
        turns = [*messages, {"role": "assistant", "content": answer}]
        whole = self.tokenizer.apply_chat_template(turns, tokenize=False)
        prompt = self.prompt_text(messages)
        if not whole.startswith(prompt):
            return f"{answer}{self._end}"
        text, end, _ = whole[len(prompt) :].partition(self._end) if self._end else (whole[len(prompt) :], "", "")
        return text + (end or self._end)

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Token ids of `prompt_text`; the template itself writes any special tokens."""
        text = self.prompt_text(messages)
        ids = self._encode(text)
        start = self.tokenizer.bos_token_id
        needs_start = not self.has_template and start is not None and ids[:1] != [start]
        return [start, *ids] if needs_start else ids

    def answer_ids(self, messages: Messages, answer: str) -> list[int]:
        """Token ids of `answer_text`."""
        return self._encode(self.answer_text(messages, answer))

    @cached_property
    def _end(self) -> str:
        return self.tokenizer.eos_token or ""

    def _encode(self, text: str) -> list[int]:
        if text not in self._ids:
            self._ids[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._ids[text]
