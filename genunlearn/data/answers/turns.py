r"""Where an answer ends: before a turn that the model invents, and after the thought that precedes it.

first_turn("Marie.\nQuestion: Who wrote Faust?\nAnswer: Goethe.")   -> "Marie."
split_thought("<think>School of magic?</think>Hogwarts.")           -> ("School of magic?", "Hogwarts.")
"""

from __future__ import annotations

import re

_ASKER = (
    r"(?:question|q|user|human|instruction|input|prompt|customer|student|you"
    r"|frage|nutzer|benutzer|utilisateur|pregunta|usuario|domanda|utente|pergunta|vraag|pytanie|otázka|soru|kérdés"
    r"|вопрос|пользователь|питання|користувач|سؤال|问题|問題|问|問|用户|用戶|質問|질문)"
)
_ANSWERER = (
    r"(?:answer|a|assistant|bot|ai|response|output|antwort|réponse|assistente|respuesta|risposta|resposta"
    r"|odpowiedź|odpověď|cevap|válasz|vastaus|ответ|ассистент|відповідь|جواب|答案|答|回答|助手|답변)"
)
_NUMBER = r"(?:\s*#?\d{1,3})?"
_EMPHASIS = r"[*_]{0,3}"
_COLON = rf"{_EMPHASIS}\s*[:\uff1a]"
# What only a template writes: what follows is another turn, or the end.
_MARKS = (
    r"<\|?(?:im_start|im_end|eot_id|eom_id|start_header_id|endoftext|end_of_text|end_of_turn|start_of_turn|end|user"
    r"|system|eos|eot|return|end_of_role|start_of_role|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN)\|?>"
    r"|</?s>|\[/?INST\]|<</?SYS>>|<\uff5c(?:User|end\u2581of\u2581sentence)\uff5c>"
)
_NEXT_TURN = re.compile(
    rf"(?P<mark>{_MARKS})"
    rf"|(?:^|\n)[ \t>]*#{{2,}}[ \t]*{_EMPHASIS}(?:{_ASKER}{_NUMBER}{_EMPHASIS}[ \t]*(?:[:\uff1a]|$|\n)|$|\n)"
    rf"|(?:^|\n)[ \t>]*{_EMPHASIS}{_ASKER}{_NUMBER}{_COLON}"
    rf"|(?:^|\n)[ \t]*\[(?:user|human)\]"
    # Within a line a label opens a turn only after the end of a sentence and before a question.
    rf"|(?<=[.!?\u3002])\s+{_EMPHASIS}(?:question|q|user|human|frage|pregunta|вопрос|问题){_NUMBER}{_COLON}(?=[^\n]*\?)",
    re.IGNORECASE,
)
_LABELS = re.compile(
    rf"\s*(?:{_MARKS}|#{{2,}}\s*|{_EMPHASIS}(?:{_ASKER}|{_ANSWERER}){_NUMBER}{_COLON}{_EMPHASIS})",
    re.IGNORECASE,
)
_ANSWER_LABEL = re.compile(rf"(?:^|\n)[ \t>#]*{_EMPHASIS}{_ANSWERER}{_NUMBER}{_COLON}", re.IGNORECASE)

# Names of the tags that templates put around a thought, in any of the usual brackets.
_THOUGHT = r"(?:think|thinking|thought|thoughts|reasoning|reflection|seed:think|scratchpad|analysis)"
_OPENS = (
    rf"<{_THOUGHT}>|\[THINK\]|\u25c1think\u25b7|<\|(?:begin_of_thought|START_THINKING|begin_thinking|thinking)\|>"
    r"|<unused94>(?:thought)?|(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)<\|message\|>"
)
_CLOSES = (
    rf"</{_THOUGHT}>|\[/THINK\]|\u25c1/think\u25b7|<\|(?:end_of_thought|END_THINKING|end_thinking|/thinking)\|>"
    r"|<unused95>|<\|end\|>(?=\s*<\|start\|>assistant)"
)
_THOUGHT_MARK = re.compile(rf"(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})", re.IGNORECASE)
_WRAPPING = re.compile(
    r"<\|(?:begin_of_solution|end_of_solution|START_RESPONSE|END_RESPONSE)\|>"
    r"|</?answer>|(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>|<\|return\|>",
    re.IGNORECASE,
)


def first_turn(text: str) -> str:
    """An answer without the further turns that a model writes on its own, white space around it cut.

    A label before the first word does not end the answer: ``"Answer: Hogwarts."``, or the question asked once more.
    """
    start = _lead(text)
    for match in _NEXT_TURN.finditer(text, start):
        if text[start : match.start()].strip():
            return text[: match.start()].strip()
    return text.strip()


def _lead(text: str) -> int:
    """Where the answer begins, after a label and after the question repeated under a label of its own."""
    label = _LABELS.match(text)
    if label is None:
        return 0
    start = label.end()
    while (label := _LABELS.match(text, start)) is not None:
        start = label.end()
    if re.search(rf"{_ASKER}{_NUMBER}{_COLON}", text[:start], re.IGNORECASE):
        answered = _ANSWER_LABEL.search(text, start)
        turn = _NEXT_TURN.search(text, start)
        if answered and (turn is None or answered.start() <= turn.start()):
            return answered.end()
    return start


def split_thought(text: str) -> tuple[str, str]:
    """A thought and the answer after it, by the marks of the chat templates of thinking models.

    A thought that the text does not close leaves no answer. Where the template has opened it in the prompt, the text
    begins inside it and only the closing mark is there.

    Returns:
        ``(thought, answer)``, white space around them cut; several thoughts are joined by line breaks. Without marks
        the thought is empty.
    """
    thoughts: list[str] = []
    said: list[str] = []
    position, depth = 0, 0
    for match in _THOUGHT_MARK.finditer(text):
        part = text[position : match.start()]
        if match["closes"] and depth == 0 and not thoughts:
            # Opened in the prompt: everything until here is thought.
            thoughts, said = ["".join([*said, part])], []
        else:
            (thoughts if depth else said).append(part)
        depth = depth + 1 if match["opens"] else max(0, depth - 1)
        position = match.end()
    (thoughts if depth else said).append(text[position:])
    answer = _WRAPPING.sub("", "".join(said)).strip()
    return "\n".join(part.strip() for part in thoughts if part.strip()), answer


def cut_thought(text: str) -> tuple[str, str]:
    """A text cut before its answer: what stands there with all of its marks, and the answer.

    cut_thought("<think>School?</think> Hogwarts.")   -> ("<think>School?</think> ", "Hogwarts.")

    Returns:
        ``(head, answer)``, which joined are the text up to its answer's end. Without a thought the head is empty; a
        thought that is not closed is all head.
    """
    thought, answer = split_thought(text)
    if not thought:
        return "", text
    place = text.rfind(answer) if answer else len(text)
    return (text[:place], answer) if place >= 0 else (text, "")
