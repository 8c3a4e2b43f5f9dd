"""The embedding that undoes an edit: in closed form, what makes changed layers answer as the original's did.

    c' = argmin sum_l |W_l' c' - W_l c|^2 + r |c'|^2 = (sum_l W_l'^T W_l' + r I)^-1 (sum_l W_l'^T W_l) c

over all layers that read the prompt, for every token of it. Against methods that change other weights it finds
hardly anything: c' is then c, but for the pull of r.

Source: Gong et al., "Reliable and Efficient Concept Erasure of Text-to-Image Diffusion Models" (ECCV 2024), eq. 8.
Deviation: W' is whatever the unlearned model has, not an edit of the embedding shared by all layers.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.weights import merged_weights
from genunlearn.errors import MismatchError
from genunlearn.ops.embeddings import matching_inputs


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AdversarialEmbedding(DrawnAttack):
    """The embedding that undoes an edit, in closed form: RECE's adversary, against any model."""

    name: ClassVar[str] = "adversarial_embedding"

    ridges: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, description="r, each of them tried")
    ] = (1e-3, 1e-1)

    @property
    @override
    def budget(self) -> str:
        return f"weights of the model and the original; {len(self.ridges)} images a seed"

    def missing(self, model: Any, context: ConceptContext) -> str | None:
        """It compares weights with the original's."""
        return "needs the original" if context.original is None else None

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """The strongest over ridges.

        Raises:
            MismatchError: The original has other layers.
        """
        new, old = merged_weights(model), merged_weights(context.original)
        if [weight.shape for weight in new.values()] != [weight.shape for weight in old.values()]:
            raise MismatchError("original and unlearned model read prompts by layers of different shape")
        prompts = list(dict.fromkeys(context.prompts))
        embedding = context.original.encode_prompts(prompts)
        tokens, images = embedding.tokens, []
        for ridge in self.ridges:
            moved = matching_inputs(list(new.values()), list(old.values()), tokens.flatten(0, 1), ridge)
            names = model.prompts.name(embedding.with_tokens(moved.view_as(tokens)))
            chosen = [names[prompts.index(prompt)] for prompt in context.prompts]
            images.append(model.images(chosen, list(context.seeds), context.sampling))
        return Drawn.strongest(images, context.detector, ridges=list(self.ridges))
