"""Conversations as token ids, for each family's own chat template and for models without one."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from genunlearn.domains.lm.chat import ChatFormat
from tests.tiny_models import FAMILIES

ASK = [{"role": "user", "content": "Where did Harry Potter study?"}]
FEW_SHOT = [
    {"role": "user", "content": "Who wrote Faust?"},
    {"role": "assistant", "content": "Goethe."},
    *ASK,
]
END = {"llama": "<|eot_id|>", "qwen2": "<|im_end|>", "mistral": "</s>"}


@pytest.fixture
def chat(tiny_folder):
    return lambda name: ChatFormat(AutoTokenizer.from_pretrained(tiny_folder(name)))


@pytest.mark.parametrize("answer", ["Hogwarts.", "144", "Kraków, naïve café!", "It's\n\nHogwarts.", "Ünïcode ☃"])
@pytest.mark.parametrize("messages", [ASK, FEW_SHOT], ids=["one turn", "few-shot"])
@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_and_answer_tokenised_apart_are_the_whole_chat(chat, family, messages, answer):
    chat = chat(family)
    turns = [*messages, {"role": "assistant", "content": answer}]
    whole = chat.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    apart = chat.prompt_ids(messages) + chat.answer_ids(messages, answer)
    assert whole[: len(apart)] == apart
    assert chat.tokenizer.decode(apart[-1]) == END[family]
    # Nothing that the model would have to say is left out: Qwen's template ends the line after the turn.
    assert chat.tokenizer.decode(whole[len(apart) :]) in ("", "\n")


@pytest.mark.parametrize("opening", ["He studied at ", 'It is called "', "H", "Ho", "He went to\n\n"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_opening_is_given_and_the_rest_is_the_answer(chat, family, opening):
    chat = chat(family)
    whole, turn = chat.turn(ASK, f"{opening}Hogwarts."), chat.continued(ASK, opening, "Hogwarts.")
    assert turn.prompt + turn.answer == whole.prompt + whole.answer
    assert turn.ends == whole.ends
    said = chat.tokenizer.decode(turn.answer)
    given = chat.tokenizer.decode(turn.prompt[len(whole.prompt) :])
    assert said.endswith(f"Hogwarts.{END[family]}")
    assert opening.startswith(given.lstrip())  # nothing of the answer is given
    assert given.strip() or len(opening) < 3


@pytest.mark.parametrize(
    ("family", "prompt", "answer"),
    [
        (
            "llama",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nWhere did Harry Potter study?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "Hogwarts.<|eot_id|>",
        ),
        (
            "qwen2",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\nWhere did Harry Potter study?<|im_end|>\n<|im_start|>assistant\n",
            "Hogwarts.<|im_end|>",
        ),
        ("mistral", "<s>[INST] Where did Harry Potter study?[/INST]", " Hogwarts.</s>"),
    ],
)
def test_texts_of_each_family(chat, family, prompt, answer):
    assert chat(family).prompt_text(ASK) == prompt
    assert chat(family).answer_text(ASK, "Hogwarts.") == answer


@pytest.mark.parametrize("family", FAMILIES)
def test_the_start_token_comes_once(chat, family):
    chat = chat(family)
    start = chat.tokenizer.bos_token_id
    assert chat.prompt_ids(ASK).count(start) == (start is not None)
    assert start not in chat.answer_ids(ASK, "Hogwarts.")


def test_without_a_template_the_plain_form_is_used(chat):
    chat = chat("llama")
    chat.tokenizer.chat_template = None
    assert chat.prompt_text(FEW_SHOT) == (
        "Question: Who wrote Faust?\nAnswer: Goethe.\nQuestion: Where did Harry Potter study?\nAnswer:"
    )
    assert chat.answer_text(ASK, "Hogwarts.") == " Hogwarts.<|eot_id|>"
    ids = chat.prompt_ids(ASK)
    assert ids[0] == chat.tokenizer.bos_token_id
    assert ids[1:] == chat.tokenizer.encode(chat.prompt_text(ASK), add_special_tokens=False)


def test_a_turn_ends_as_the_template_writes_it_whatever_ends_a_document(chat):
    # As Gemma's and base Llama 3's: the template ends a turn with one token, the tokenizer a document with another.
    chat = chat("llama")
    chat.tokenizer.eos_token = "<|end_of_text|>"
    assert chat.answer_text(ASK, "Hogwarts.") == "Hogwarts.<|eot_id|>"
    assert chat.turn(ASK, "Hogwarts.").ends == 1
    tokens = {"<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"}
    assert set(chat.tokenizer.convert_ids_to_tokens(chat.marks.ids)) == tokens
    assert chat.marks.texts == ()


TEXT_MARKS = "{% for m in messages %}{{ (m.role | upper) + ': ' + m.content + (eos_token if m.role == 'assistant' else ' ') }}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"  # noqa: E501
CHATML_AS_TEXT = "{% for m in messages %}{{ '#start ' + m.role + '\n' + m.content + '#end\n' }}{% endfor %}{% if add_generation_prompt %}{{ '#start assistant\n' }}{% endif %}"  # noqa: E501
OWN_END = "{% for m in messages %}{{ '<s>' + m.role + m.content + ('</s>' if loop.last else '[/INST]') }}{% endfor %}{% if add_generation_prompt %}<s>assistant{% endif %}"  # noqa: E501


@pytest.mark.parametrize(
    ("template", "end", "tokens", "texts"),
    [
        (TEXT_MARKS, "</s>", {"</s>"}, ("USER:",)),
        # No mark is a token: the text that ends a turn and the one that begins another are both looked for.
        (CHATML_AS_TEXT, "#end</s>", {"</s>"}, ("\n#start user", "#end")),
        # Earlier turns end in another way than the last: only the end of the last one is sure.
        (OWN_END, "</s>", {"</s>"}, ()),
        (None, "</s>", {"</s>"}, ("\nQuestion:",)),
    ],
    ids=["text roles", "text only", "two ends", "none"],
)
def test_what_ends_an_answer_is_read_from_the_template(chat, template, end, tokens, texts):
    chat = chat("mistral")
    chat.tokenizer.chat_template = template
    assert chat.marks.end == end
    assert set(chat.tokenizer.convert_ids_to_tokens(chat.marks.ids)) == tokens
    assert chat.marks.texts == texts
    assert chat.answer_text(ASK, "Hogwarts.").endswith(f"Hogwarts.{end}")


def test_the_channel_of_a_thinking_template_is_not_the_end_of_its_turn(chat):
    # The template opens every answer with tokens that also open a question: a model that writes them goes on.
    chat = chat("llama")
    chat.tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>' + m.content + '<|eot_id|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant' }}{% endif %}"
    )
    assert "<|end_header_id|>" not in chat.tokenizer.convert_ids_to_tokens(chat.marks.ids)


def test_a_template_that_rewrites_earlier_turns_gives_the_bare_answer(chat):
    # As templates of reasoning models: the prompt for generation opens a block that a finished turn does not have.
    chat = chat("qwen2")
    chat.tokenizer.chat_template += "{%- if add_generation_prompt %}{{- '<think>' }}{%- endif %}"
    assert chat.answer_text(ASK, "Hogwarts.") == "Hogwarts.<|im_end|>"


def test_a_thought_that_the_template_cuts_off_is_still_what_the_model_writes(chat):
    made = chat("qwen2")
    whole = made.tokenizer.chat_template
    cut = whole.replace("message['content']", "message['content'].split('</think>')[-1].strip()")
    assert cut != whole
    made.tokenizer.chat_template = cut
    thought = "<think>A school of magic?</think>\nHogwarts."
    turn = made.turn(ASK, thought)
    assert made.tokenizer.decode(turn.answer) == f"{thought}<|im_end|>" and turn.ends == 1
    assert made.tokenizer.decode(made.turn(ASK, " Hogwarts. ").answer) == "Hogwarts.<|im_end|>"  # white space alone


def test_a_template_that_leaves_answers_out_gives_the_bare_answer(chat):
    chat = chat("mistral")
    chat.tokenizer.chat_template = "{{ messages[0].content }}"
    assert chat.answer_text(ASK, "Hogwarts.") == "Hogwarts.</s>"
    assert chat.marks.texts == ()


@pytest.mark.parametrize("has_template", [True, False])
def test_a_tokenizer_without_an_end_token_ends_with_the_text(chat, has_template):
    chat = chat("mistral")
    chat.tokenizer.eos_token = None
    chat.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}|{% endfor %}" if has_template else None
    assert chat.answer_text(ASK, "Hogwarts.") == ("Hogwarts.|" if has_template else " Hogwarts.")
