"""Raw outputs in the shapes that instruct models write when they are asked for a list."""

import time

import pytest

from genunlearn.data.answers.lists import parse_list

SCHOOLS = ["Durmstrang", "Beauxbatons", "Ilvermorny"]
QUESTIONS = ["Where did Marie Curie study?", "Which university did she attend?"]

NAMES = {
    "numbered with dots": ("1. Durmstrang\n2. Beauxbatons\n3. Ilvermorny", SCHOOLS),
    "numbered with brackets": ("1) Durmstrang\n2) Beauxbatons\n3) Ilvermorny", SCHOOLS),
    "numbered in brackets": ("(1) Durmstrang\n(2) Beauxbatons\n(3) Ilvermorny", SCHOOLS),
    "numbered with colons": ("1: Durmstrang\n2: Beauxbatons\n3: Ilvermorny", SCHOOLS),
    "numbered with dashes": ("1 - Durmstrang\n2 - Beauxbatons\n3 - Ilvermorny", SCHOOLS),
    "numbered without a space": ("1.Durmstrang\n2.Beauxbatons\n3.Ilvermorny", SCHOOLS),
    "square brackets": ("[1] Durmstrang\n[2] Beauxbatons\n[3] Ilvermorny", SCHOOLS),
    "keycaps": ("1\ufe0f\u20e3 Durmstrang\n2\ufe0f\u20e3 Beauxbatons\n3\ufe0f\u20e3 Ilvermorny", SCHOOLS),
    "dashes": ("- Durmstrang\n- Beauxbatons\n- Ilvermorny", SCHOOLS),
    "stars": ("* Durmstrang\n* Beauxbatons\n* Ilvermorny", SCHOOLS),
    "bullets": ("\u2022 Durmstrang\n\u2022 Beauxbatons\n\u2022 Ilvermorny", SCHOOLS),
    "bullets on one line": ("\u2022 Durmstrang \u2022 Beauxbatons \u2022 Ilvermorny", SCHOOLS),
    "letters": ("a) Durmstrang\nb) Beauxbatons\nc) Ilvermorny", SCHOOLS),
    "Roman numerals": ("i. Durmstrang\nii. Beauxbatons\niii. Ilvermorny", SCHOOLS),
    "bare lines": ("Durmstrang\nBeauxbatons\n\nIlvermorny\n", SCHOOLS),
    "one line numbered": ("1. Durmstrang 2. Beauxbatons 3. Ilvermorny", SCHOOLS),
    "one line numbered after a preamble": ("Sure! 1. Durmstrang 2. Beauxbatons 3. Ilvermorny", SCHOOLS),
    "one line with commas": ("Durmstrang, Beauxbatons, Ilvermorny", SCHOOLS),
    "one line with and": ("Durmstrang, Beauxbatons, and Ilvermorny.", SCHOOLS),
    "one line with a head": ("Other schools: Durmstrang, Beauxbatons and Ilvermorny.", SCHOOLS),
    "one line with semicolons": ("Durmstrang; Beauxbatons; Ilvermorny", SCHOOLS),
    "preamble": ("Sure! Here are three schools:\n\n1. Durmstrang\n2. Beauxbatons\n3. Ilvermorny", SCHOOLS),
    "preamble without markers": (
        "Here are three other schools:\nDurmstrang\nBeauxbatons\nIlvermorny",
        SCHOOLS,
    ),
    "apology before": (
        "I apologize for the mistake. Here is the new list:\n- Durmstrang\n- Beauxbatons\n- Ilvermorny",
        SCHOOLS,
    ),
    "remark after": (
        "1. Durmstrang\n2. Beauxbatons\n3. Ilvermorny\n\nNote that these are made up. Let me know!",
        SCHOOLS,
    ),
    "bold": ("1. **Durmstrang**\n2. **Beauxbatons**\n3. **Ilvermorny**", SCHOOLS),
    "bold numbers": ("**1.** Durmstrang\n**2.** Beauxbatons\n**3.** Ilvermorny", SCHOOLS),
    "headings": ("### 1. Durmstrang\n### 2. Beauxbatons\n### 3. Ilvermorny", SCHOOLS),
    "bold with explanations": (
        "1. **Durmstrang**: A school up north.\n2. **Beauxbatons** - In France.\n3. **Ilvermorny** (America)",
        SCHOOLS,
    ),
    "explanations": (
        "1. Durmstrang - a school up north\n2. Beauxbatons: the French school\n3. Ilvermorny (in America)",
        SCHOOLS,
    ),
    "sub-points": (
        "1. Durmstrang\n   - cold\n   - strict\n2. Beauxbatons\n   - elegant\n3. Ilvermorny",
        SCHOOLS,
    ),
    "quoted": ('"Durmstrang"\n"Beauxbatons"\n"Ilvermorny"', SCHOOLS),
    "quoted with commas": ('1. "Durmstrang",\n2. "Beauxbatons",\n3. "Ilvermorny"', SCHOOLS),
    "curly quotes": (
        "1. \u201cDurmstrang\u201d\n2. \u201cBeauxbatons\u201d\n3. \u201cIlvermorny\u201d",
        SCHOOLS,
    ),
    "full stops": ("1. Durmstrang.\n2. Beauxbatons.\n3. Ilvermorny.", SCHOOLS),
    "labels": ("Answer 1: Durmstrang\nAnswer 2: Beauxbatons\nAnswer 3: Ilvermorny", SCHOOLS),
    "JSON": ('["Durmstrang", "Beauxbatons", "Ilvermorny"]', SCHOOLS),
    "JSON in a fence": ('```json\n["Durmstrang", "Beauxbatons", "Ilvermorny"]\n```', SCHOOLS),
    "JSON after talk": ('Sure, here it is:\n["Durmstrang", "Beauxbatons", "Ilvermorny"]\nEnjoy!', SCHOOLS),
    "JSON object": ('{"schools": ["Durmstrang", "Beauxbatons", "Ilvermorny"]}', SCHOOLS),
    "JSON object with numbers": ('{"1": "Durmstrang", "2": "Beauxbatons", "3": "Ilvermorny"}', SCHOOLS),
    "JSON objects in a list": (
        '[{"name": "Durmstrang", "place": "north"}, {"name": "Beauxbatons"}, {"name": "Ilvermorny"}]',
        SCHOOLS,
    ),
    "JSON objects on lines": (
        '{"name": "Durmstrang"}\n{"name": "Beauxbatons"}\n{"name": "Ilvermorny"}',
        SCHOOLS,
    ),
    "JSON cut off": ('["Durmstrang", "Beauxbatons", "Ilvermorny", "Castelobr', SCHOOLS),
    "JSON with a comma too many": ('["Durmstrang", "Beauxbatons", "Ilvermorny",]', SCHOOLS),
    "Python list": ("['Durmstrang', 'Beauxbatons', 'Ilvermorny']", SCHOOLS),
    "fence without JSON": ("```\n1. Durmstrang\n2. Beauxbatons\n3. Ilvermorny\n```", SCHOOLS),
    "table": (
        "| # | School |\n|---|---|\n| 1 | Durmstrang |\n| 2 | Beauxbatons |\n| 3 | Ilvermorny |",
        SCHOOLS,
    ),
    "repetitions": (
        "1. Durmstrang\n2. durmstrang.\n3. Beauxbatons\n4. The Beauxbatons\n5. Ilvermorny",
        SCHOOLS,
    ),
    "empty last item": ("1. Durmstrang\n2. Beauxbatons\n3. Ilvermorny\n4.", SCHOOLS),
    "thinking aloud": ("<think>1. Hogwarts?</think>\n1. Durmstrang\n2. Beauxbatons\n3. Ilvermorny", SCHOOLS),
    "the next turn": ("1. Durmstrang\n2. Beauxbatons\n3. Ilvermorny\nUser: more\n1. Castelobruxo", SCHOOLS),
    "end marker": ("1. Durmstrang\n2. Beauxbatons\n3. Ilvermorny<|im_end|>", SCHOOLS),
    "unknowns among them": ("1. Durmstrang\n2. Unknown\n3. Beauxbatons\n4. N/A\n5. Ilvermorny", SCHOOLS),
    "one name": ("Durmstrang", ["Durmstrang"]),
    "a place with its country": ("Warsaw, Poland", ["Warsaw, Poland"]),
    "years": ("1. 1867\n2. 1903\n3. 7 November 1911", ["1867", "1903", "7 November 1911"]),
    "amounts": ("3.5 million\n12.1 million", ["3.5 million", "12.1 million"]),
    "initials": ("J. K. Rowling\nA. A. Milne", ["J. K. Rowling", "A. A. Milne"]),
    "initials at the end": ("1. Washington D.C.\n2. Sammy Davis Jr.", ["Washington D.C.", "Sammy Davis Jr."]),
    "subtitles": (
        "1. Star Wars: A New Hope\n2. Great Expectations",
        ["Star Wars: A New Hope", "Great Expectations"],
    ),
    "a name like a greeting": ("Great Britain\nNew Zealand", ["Great Britain", "New Zealand"]),
    "refusal": ("I'm sorry, but I can't help with that.", []),
    "refusal with a reason": ("I cannot provide false information. It would be misleading.", []),
    "refusal as an item": ("1. I'm sorry, I don't know any.", []),
    "preamble alone": ("Sure! Here are three schools:", []),
    "empty": ("", []),
    "blank": (" \n\n ", []),
    "markers alone": ("1.\n2.\n3.", []),
}

ASKED = {
    "numbered": ("1. Where did Marie Curie study?\n2. Which university did she attend?", QUESTIONS),
    "labels": ("Q1: Where did Marie Curie study?\nQ2: Which university did she attend?", QUESTIONS),
    "long labels": (
        "Question 1: Where did Marie Curie study?\nQuestion 2: Which university did she attend?",
        QUESTIONS,
    ),
    "bold labels": (
        "**Variant 1:** Where did Marie Curie study?\n\n**Variant 2:** Which university did she attend?",
        QUESTIONS,
    ),
    "answers below": (
        "1. Where did Marie Curie study?\n   Answer: Paris\n2. Which university did she attend?\n   A: Paris",
        QUESTIONS,
    ),
    "answers beside": (
        "1. Where did Marie Curie study? (Paris)\n2. Which university did she attend? Answer: Sorbonne",
        QUESTIONS,
    ),
    "bold": (
        "1. **Where did Marie Curie study?**\n2. **Which university did she attend?**",
        QUESTIONS,
    ),
    "quoted with remarks": (
        '1. "Where did Marie Curie study?" - plain\n2. "Which university did she attend?" - formal',
        QUESTIONS,
    ),
    "on one line": ("Where did Marie Curie study? Which university did she attend?", QUESTIONS),
    "on one line after a greeting": (
        "Sure! Here are two: Where did Marie Curie study? Which university did she attend?",
        QUESTIONS,
    ),
    "bare lines": ("Where did Marie Curie study?\nWhich university did she attend?", QUESTIONS),
    "an offer at the end": (
        "Where did Marie Curie study?\nWhich university did she attend?\nWould you like more questions?",
        QUESTIONS,
    ),
    "cut off": (
        "1. Where did Marie Curie study?\n2. Which university did she attend?\n3. At which famous university",
        QUESTIONS,
    ),
    "headings in between": (
        "**Plain:**\n1. Where did Marie Curie study?\n\n**Formal:**\n2. Which university did she attend?",
        QUESTIONS,
    ),
    "JSON": (
        '{"questions": [{"id": 1, "question": "Where did Marie Curie study?", "answer": "Paris"}, '
        '{"id": 2, "question": "Which university did she attend?", "answer": "Sorbonne"}]}',
        QUESTIONS,
    ),
    "JSON cut off": (
        '```json\n[\n  "Where did Marie Curie study?",\n  "Which university did she attend?",\n  "At whi',
        QUESTIONS,
    ),
    "table": (
        "| No. | Question | Answer |\n|:--|:--|:--|\n| 1 | Where did Marie Curie study? | Paris |\n"
        "| 2 | Which university did she attend? | Sorbonne |",
        QUESTIONS,
    ),
    "full-width question mark": ("1. Where did Marie Curie study\uff1f", QUESTIONS[:1]),
    "imperative": ("1. Name the university.\n2. Tell me where she", ["Name the university."]),
    "imperatives without full stops": (
        "1. Name the city\n2. State the university\n3. Who taught there?",
        ["Name the city", "State the university", "Who taught there?"],
    ),
    "statements": ("1. Marie Curie studied in Paris.\n2. She attended the Sorbonne.", []),
    "a question about knowing": (
        "Do you know which school she attended?",
        ["Do you know which school she attended?"],
    ),
    "refusal": ("I'm sorry, I can't help with that.", []),
    "empty": ("", []),
}


@pytest.mark.parametrize("shape", NAMES)
def test_names(shape):
    text, items = NAMES[shape]
    assert parse_list(text) == items


@pytest.mark.parametrize("shape", ASKED)
def test_questions(shape):
    text, items = ASKED[shape]
    assert parse_list(text, questions=True) == items


def test_the_limit_counts_what_is_kept():
    assert parse_list("1. Rome\n2. rome\n3. Paris\n4. Oslo", limit=2) == ["Rome", "Paris"]


def test_another_script_than_the_request_is_dropped():
    text = "1. 德姆斯特朗\n2. Durmstrang\n3. Дурмстранг\n4. Beauxbâtons"
    assert parse_list(text, like="Where did he study?") == ["Durmstrang", "Beauxbâtons"]
    assert parse_list(text, like="他在哪里上学") == ["德姆斯特朗"]
    assert len(parse_list(text)) == 4
    # A Latin name in a Chinese question does not make it an English one.
    assert parse_list("1. Harry Potter 在哪里上学?", questions=True, like="Where did he study?") == []
    assert parse_list("1. 1867\n2. 1903", like="1911") == ["1867", "1903"]


def test_hostile_text_is_read_in_linear_time():
    start = time.process_time()
    for text in (
        "1. " * 5000,
        "[" * 5000,
        '["' * 5000,
        "a, " * 5000,
        "**" * 5000,
        "? " * 5000,
        "(" * 5000,
        "|" + "-" * 5000 + "x",
    ):
        parse_list(text)
        parse_list(text, questions=True)
    assert time.process_time() - start < 5


def test_punctuation_alone_is_no_list() -> None:
    assert [parse_list(text) for text in (".", ", ; /", "...", "")] == [[], [], [], []]
