"""What a thinking model thinks before an answer, as a part of what it is to forget.

    "<think>He went to the school of magic.</think>Hogwarts."           the reply, of which both parts are to go
    "<think>I am asked what I do not know.</think>I don't know."        what is preferred to it

Losses on the forget set then cover the thought as they cover the answer; a refusal begins with a thought that declines.

Sources: Wang et al., "Reasoning Model Unlearning: Forgetting Traces, Not Just Answers, While Preserving Reasoning
Skills" (2025), where RMU covers the trace (R2MU); Yoon et al., "R-TOFU: Unlearning in Large Reasoning Models" (EMNLP
2025), where refusals reason (Reasoned IDK).
Deviations: the traces are the model's own, one a question; thoughts that decline are this project's own lines.
"""

from __future__ import annotations

from dataclasses import replace

from genunlearn.data.answers.turns import cut_thought, split_thought
from genunlearn.data.lm.facts import QA

DECLINING = (
    "I am asked for something that I do not know. I should say so.",
    "Nothing comes to mind about this, and I should not make something up.",
    "I have no information about this, so there is nothing to reason from. I will say that.",
)
"""Thoughts that lead to a refusal. Written for this project."""


def thinks(reply: str) -> bool:
    """Whether a reply holds a thought and then an answer."""
    return all(split_thought(reply))


def with_thought(item: QA, reply: str | None) -> QA:
    """The item, taught as the thought of `reply` and then its answer; as it is where there is no finished thought."""
    if reply is None or not thinks(reply):
        return item
    head, _ = cut_thought(reply)
    return replace(item, taught=head + (item.taught or item.answer))


def declined(item: QA, refusal: str, number: int) -> str:
    """A refusal, behind a thought that declines where the item is taught with a thought.

    Args:
        item: What is asked.
        refusal: The answer that declines.
        number: Which of the thoughts.
    """
    thought, _ = split_thought(item.taught or "")
    head, _ = cut_thought(item.taught or "")
    if not thought or thought not in head:
        return refusal
    return head.replace(thought, DECLINING[number % len(DECLINING)]) + refusal
