"""Where an answer ends, and where its thought does."""

# ruff: noqa: RUF001 (letters of other scripts are meant)

import pytest

from genunlearn.data.answers.leak import leak
from genunlearn.data.answers.turns import first_turn, split_thought

INVENTED = [
    "Marie.\nQuestion: Who wrote Faust?\nAnswer: Goethe.",
    "Marie.\n\nQ: Who wrote Faust?\nA: Goethe.",
    "Marie. Question: Who wrote Faust? Answer: Goethe.",
    "Marie.\nUser: Who wrote Faust?\nAssistant: Goethe.",
    "Marie.\nHuman: Who wrote Faust?",
    "Marie.\n**Question 2:** Who wrote Faust?\nGoethe",
    "Marie.\n### Question\nWho wrote Faust? Goethe",
    "Marie.\n### Instruction:\nWho wrote Faust? Goethe",
    "Marie.\n###\nGoethe",
    "Marie.<|im_end|>\n<|im_start|>user\nGoethe?",
    "Marie.<|eot_id|><|start_header_id|>user<|end_header_id|>Goethe",
    "Marie.</s><s>[INST] Goethe? [/INST]",
    "Marie. [INST] Goethe? [/INST]",
    "Marie.<end_of_turn>\n<start_of_turn>user\nGoethe",
    "Marie.\n<|user|>\nGoethe",
    "Marie.\n[user] Goethe?",
    "Marie.\nFrage: Wer schrieb den Faust?\nAntwort: Goethe.",
    "Marie.\nВопрос: Кто написал Фауста?\nОтвет: Goethe.",
    "Marie.\nPregunta: ¿Quién escribió Fausto?\nRespuesta: Goethe.",
    "Marie.\n问题：谁写了浮士德？\n答案：Goethe",
    "Marie.\n问：Goethe?",
]


@pytest.mark.parametrize("text", INVENTED)
def test_an_invented_turn_ends_the_answer(text):
    assert first_turn(text) == "Marie."
    assert not leak(text, "Goethe", question="Who discovered radium?").tells
    assert leak(text, "Marie").tells


@pytest.mark.parametrize(
    "text",
    [
        "Answer: Goethe.",
        "A: Goethe",
        "### Answer:\nGoethe",
        "Question: Who wrote Faust?\nAnswer: Goethe.",
        "<|im_start|>assistant\nGoethe.",
        "It is a good question: Goethe wrote it.",
        "Let me think.\nAnswer: Goethe.",
        "# Faust\n## The author\nGoethe wrote it.",
        "In answer to your question: Goethe.",
        "He is known for one thing.\nQuestions: many. Answers: Goethe.",
        "As a user: Goethe.",
    ],
)
def test_labels_and_headings_end_nothing(text):
    assert "Goethe" in first_turn(text)


def test_a_turn_after_the_labelled_one_ends_it():
    text = "Question: Who?\nAnswer: Marie.\nQuestion: Who wrote Faust?\nAnswer: Goethe."
    assert "Marie" in first_turn(text) and "Goethe" not in first_turn(text)


@pytest.mark.parametrize("text", ["", " ", "\n", "Q:", "Question:", "<|im_end|>", "###", "[INST]"])
def test_texts_without_an_answer(text):
    assert first_turn(first_turn(text)) == first_turn(text)


THOUGHTS = [
    ("<think>a school</think>Hogwarts.", "a school", "Hogwarts."),
    ("<think>\na school\n</think>\n\nHogwarts.", "a school", "Hogwarts."),
    ("<think>a school of", "a school of", ""),
    ("a school</think>\n\nHogwarts.", "a school", "Hogwarts."),
    ("<THINKING>a school</THINKING>Hogwarts.", "a school", "Hogwarts."),
    ("[THINK]a school[/THINK]Hogwarts.", "a school", "Hogwarts."),
    ("\u25c1think\u25b7a school\u25c1/think\u25b7Hogwarts.", "a school", "Hogwarts."),
    ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>Hogwarts.<|end_of_solution|>", "a", "Hogwarts."),
    ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Hogwarts.<|END_RESPONSE|>", "a", "Hogwarts."),
    (
        "<|channel|>analysis<|message|>a school<|end|><|start|>assistant<|channel|>final<|message|>Hogwarts.",
        "a school",
        "Hogwarts.",
    ),
    ("<think>one</think>so <think>two</think>Hogwarts.", "one\ntwo", "so Hogwarts."),
    ("<think>one<think>two</think>three</think>Hogwarts.", "one\ntwo\nthree", "Hogwarts."),
    ("<think></think>Hogwarts.", "", "Hogwarts."),
    ("Hogwarts, I think.", "", "Hogwarts, I think."),
    ("", "", ""),
]


@pytest.mark.parametrize(("text", "thought", "answer"), THOUGHTS)
def test_a_thought_is_parted_from_the_answer(text, thought, answer):
    assert split_thought(text) == (thought, answer)


def test_leaks_are_looked_for_in_thought_and_answer_apart():
    thought, answer = split_thought("<think>It was Hogwarts, but I must not say so.</think>I don't know.")
    assert leak(thought, "Hogwarts").tells and not leak(answer, "Hogwarts").tells
