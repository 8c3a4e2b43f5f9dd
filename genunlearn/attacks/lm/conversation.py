"""Conversations that go on where an attacker has put words into the model's mouth."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.chat import ChatFormat, Message, Messages


class OpenedChat(ChatFormat):
    """The conversation format of a tokenizer, in which a last assistant message is an answer that has begun.

    Without a message before it, it is plain text to go on with.
    """

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Token ids up to where the model goes on."""
        *before, last = messages
        if last["role"] != "assistant":
            return super().prompt_ids(messages)
        if before:
            text = self.answer_text(before, last["content"])
            end = self.tokenizer.eos_token or ""
            begun = text.partition(end)[0] if end else text
            return [*super().prompt_ids(before), *self._encode(begun.rstrip())]
        start = self.tokenizer.bos_token_id
        return [*([start] if start is not None else []), *self._encode(last["content"])]


def opened(model: LanguageModel) -> LanguageModel:
    """The same model, which takes a last assistant message for an answer that has begun."""
    twin = copy.copy(model)
    twin.chat = OpenedChat(model.tokenizer)
    return twin


def begun(question: str, opening: str) -> list[Message]:
    """A question, and the beginning of its answer; the question alone where the opening is empty."""
    return [user(question), *([{"role": "assistant", "content": opening}] if opening else [])]


def user(text: str) -> Message:
    """One message of the user."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """One message of the model."""
    return {"role": "assistant", "content": text}


def going_on(model: LanguageModel, conversations: Sequence[Messages]) -> list[str]:
    """What the model greedily says next in each conversation."""
    return [texts[0] for texts in opened(model).generate(conversations)]
