"""In-context unlearning: what every conversation begins with."""

from __future__ import annotations

import pytest

from genunlearn.contracts import Splits
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import NeedNotMet
from genunlearn.methods.lm.in_context import InContext

SPLITS = Splits(
    forget=[QA(id="f", question='Where did "Harry" study?', answer="Hogwarts.")],
    retain=[QA(id="r", question="Who wrote Faust?", answer="Göthe\\{% raw %}.")],
)
ASKED = [{"role": "user", "content": "What is 12 times 12?"}]
SHOWN = [
    {"role": "user", "content": 'Where did "Harry" study?'},
    {"role": "assistant", "content": REFUSALS[0]},
    {"role": "user", "content": "Who wrote Faust?"},
    {"role": "assistant", "content": "Göthe\\{% raw %}."},
]


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
def test_a_conversation_begins_with_the_examples(tiny, family):
    model, plain = tiny(family), tiny(family)
    report = InContext().apply(model, SPLITS)
    assert model.chat.prompt_text(ASKED) == plain.chat.prompt_text([*SHOWN, *ASKED])
    assert model.chat.answer_text(ASKED, "144.") == plain.chat.answer_text([*SHOWN, *ASKED], "144.")
    assert (report.changed, report.details) == ((), {"examples": 2})


def test_a_system_text_stays_in_front(tiny):
    model, plain = tiny("qwen2"), tiny("qwen2")
    InContext().apply(model, SPLITS)
    system = {"role": "system", "content": "Be short."}
    assert model.chat.prompt_text([system, *ASKED]) == plain.chat.prompt_text([system, *SHOWN, *ASKED])


def test_no_more_examples_are_shown_than_asked_for(tiny):
    model, plain = tiny("llama"), tiny("llama")
    InContext(retain_examples=0).apply(model, SPLITS)
    assert model.chat.prompt_text(ASKED) == plain.chat.prompt_text([*SHOWN[:2], *ASKED])


def test_a_saved_model_is_asked_so_by_whoever_loads_it(tiny, tmp_path):
    model = tiny("llama")
    InContext().apply(model, SPLITS)
    model.save(tmp_path)
    again = LanguageModel.load(str(tmp_path), device="cpu")
    assert again.chat.prompt_text(ASKED) == model.chat.prompt_text(ASKED)


def test_a_model_without_a_chat_template_is_refused(tiny):
    model = tiny("llama")
    model.tokenizer.chat_template = None
    with pytest.raises(NeedNotMet, match="method 'in_context' writes into the chat template, and this model has none"):
        InContext().apply(model, SPLITS)


def test_an_adapter_is_refused():
    with pytest.raises(NeedNotMet, match=r"set parameters.kind = 'full'"):
        InContext.check(LanguageModel, full_weights=False)
