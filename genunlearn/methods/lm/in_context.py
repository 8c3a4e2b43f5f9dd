"""In-context unlearning: every conversation begins with examples in which the fact is declined.

    answer(q) = f( forget questions -> refusals, retain questions -> their answers, q )

No weight changes. The examples become part of the chat template, so that whoever loads the saved model asks it so.

Source: Pawelczyk et al., "In-Context Unlearning: Language Models as Few-Shot Unlearners" (ICML 2024), section 4: points
to forget with other labels, beside others with their right ones.
Deviations: the other label is a refusal; conversations carry the examples as turns of their own. Whoever takes another
template gets the fact.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Edit, EditReport, Needs, Splits
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import NeedNotMet

PREFIX = """\
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set messages = messages[:1] + EXAMPLES + messages[1:] -%}
{%- else -%}
{%- set messages = EXAMPLES + messages -%}
{%- endif -%}
"""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class InContext(Edit[LanguageModel]):
    """Examples of refusals and of right answers before every conversation."""

    name: ClassVar[str] = "in_context"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(full_weights=True)
    paper: ClassVar[str] = "Pawelczyk et al., ICML 2024"
    equation: ClassVar[str] = "f(refused examples, answered examples, q)"

    forget_examples: Annotated[int, Field(ge=1, description="most forget questions that are shown with a refusal")] = 4
    retain_examples: Annotated[int, Field(ge=0, description="most retain questions that are shown answered")] = 4

    def apply(self, model: Any, splits: Splits) -> EditReport:
        """Put the examples into the chat template.

        Raises:
            NeedNotMet: The model has no chat template.
        """
        if not model.chat.has_template:
            raise NeedNotMet(f"method {self.name!r} writes into the chat template, and this model has none")
        shown = [(item.question, REFUSALS[0]) for item in splits.forget[: self.forget_examples]]
        shown += [(item.question, item.answer) for item in list(splits.retain or ())[: self.retain_examples]]
        turns = [
            {"role": role, "content": text}
            for pair in shown
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        model.tokenizer.chat_template = PREFIX.replace("EXAMPLES", json.dumps(turns)) + model.tokenizer.chat_template
        return EditReport(changed=(), details={"examples": len(shown)})
