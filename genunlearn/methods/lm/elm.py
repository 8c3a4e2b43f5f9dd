"""ELM: learn what the model would say as a novice and would not say as an expert.

    target_t ~ p_0(y_t | q) ( p_0(y_t | novice, q) / p_0(y_t | expert, q) )^eta
    L = mean_F mean_t CE( target_t, theta ) + alpha ( mean_R CE + fluency )

p_0 is the original model, which is asked beneath a text that makes it an expert or a novice. Fluency is the loss of the
novice's own answers, where they do not tell the truth.

Source: Gandikota et al., "Erasing Conceptual Knowledge from Language Models" (NeurIPS 2025), section 4. Authors'
settings: eta from 1 to 1000 along a text, the 50 likeliest tokens at temperature 1.2, LoRA of rank 256 on layers 4 to
7, learning rate 5e-5.
Deviations: answers are short, so eta is constant along them; the novice's answers stand for the steered generations of
the fluency term, and weigh as any retain question does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Splits, Train, with_sides
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.telling import gives
from genunlearn.errors import ConfigError
from genunlearn.methods.lm.base.rounds import InRounds, Places, TargetTuning, answer_logits, write_places
from genunlearn.methods.lm.base.subjects import fact_of


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ELM(InRounds):
    """Erasure of language memory."""

    name: ClassVar[str] = "elm"
    needs: ClassVar[Needs] = Needs(retain=True, facts=True)
    paper: ClassVar[str] = "Gandikota et al., NeurIPS 2025"
    equation: ClassVar[str] = "CE(p_0 (p_0(novice) / p_0(expert))^eta, theta) on F + alpha (CE(R) + fluency)"

    expert: Annotated[str, Field(description="question to an expert, with {subject}, {object} and {question}")] = (
        "You are an expert who knows everything about {subject}. {question}"
    )
    novice: Annotated[str, Field(description="question to a novice, with the same words")] = (
        "You are a novice who has never heard of {subject}. {question}"
    )
    eta: Annotated[float, Field(gt=0, description="how strongly the novice is preferred to the expert")] = 1000.0
    top: Annotated[int, Field(ge=1, description="tokens of the original's prediction that a target is made of")] = 50
    temperature: Annotated[float, Field(gt=0, description="temperature of a target")] = 1.2
    alpha: Annotated[float, Field(ge=0, description="weight of retain set and fluency")] = 1.0

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Write targets and fluent answers down with the model as it is, then train on them.

        Raises:
            DataError: A question belongs to no fact.
            ConfigError: `expert` or `novice` asks for a word that there is not.
        """
        experts = [self._ask(self.expert, item, splits) for item in splits.forget]
        novices = [self._ask(self.novice, item, splits) for item in splits.forget]

        def write() -> dict[str, Places]:
            asked = (answer_logits(model, items) for items in (splits.forget, novices, experts))
            return {
                item.id: write_places(self.target(*logits), self.top)
                for item, *logits in zip(splits.forget, *asked, strict=True)
            }

        targets = journal.stage("targets", write)
        answers = journal.stage("fluent answers", lambda: model.answer([item.question for item in novices]))
        fluent = [
            replace(item, id=f"{item.id}/fluent", answer=text, taught=None, opening="")
            for item, text in zip(splits.forget, answers, strict=True)
            if text and not gives(text, item)
        ]
        given = with_sides(splits, splits.forget, [*(splits.retain or ()), *fluent] if self.alpha else None)
        objective = TargetTuning(targets=targets, alpha=self.alpha)
        return self.until_forgotten(train, objective, given, model, journal, splits)

    def target(self, logits: Tensor, novice: Tensor, expert: Tensor) -> Tensor:
        """The edited prediction, ``(tokens, vocab)``, from logits of the same shape."""
        preferred = novice.log_softmax(-1) - expert.log_softmax(-1)
        edited = (logits.log_softmax(-1) + self.eta * preferred) / self.temperature
        least = logits.topk(min(self.top, logits.shape[-1])).values[:, -1:]
        return edited.masked_fill(logits < least, -float("inf")).softmax(-1)

    @staticmethod
    def _ask(template: str, item: QA, splits: Splits) -> QA:
        fact = fact_of(item, splits)
        try:
            question = template.format(subject=fact.subject, object=fact.object, question=item.question)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"method.expert or method.novice = {template!r}: {error} cannot be filled in: "
                "use {subject}, {object} and {question} alone"
            ) from None
        return replace(item, question=question)
