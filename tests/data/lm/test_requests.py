"""Request files: what is read, and the one line that each mistake gets."""

import json
import math
import os
from pathlib import Path

import pytest
from datasets import Dataset

from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.requests import check_overlap, parse_fact, read_facts, read_qa, read_retain, read_texts
from genunlearn.data.rows import read_rows
from genunlearn.errors import DataError, SourceNotFound

POTTER = {"subject": "Harry Potter", "object": "Hogwarts", "question": "Where did Harry Potter study?"}
CURIE = {"subject": "Marie Curie", "object": "Warsaw", "question": "Where was Marie Curie born?"}


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes | list, name: str = "facts.jsonl") -> Path:
        path = tmp_path / name
        if isinstance(content, list):
            content = "\n".join(json.dumps(row, ensure_ascii=False) for row in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


FULL = Fact(
    id="potter",
    subject="Harry Potter",
    object="Hogwarts",
    question="Where did Harry Potter study?",
    relation="studied at",
    paraphrases=("Which school did Harry Potter attend?",),
    heldout=("At which school was Harry Potter taught?",),
    aliases=("Hogwarts School", "School of Witchcraft"),
    subject_aliases=("Harry James Potter",),
    object_type="school",
)


def test_json_lines_csv_tsv_and_arrays_say_the_same(write):
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(FULL).items()}
    flat = {name: "|".join(value) if isinstance(value, list) else value for name, value in row.items()}
    tables = {separator: f"{separator.join(flat)}\n{separator.join(flat.values())}\n" for separator in (",", ";", "\t")}
    files = [
        write([row]),
        write(json.dumps([row], indent=2), "facts.json"),
        write(json.dumps(row), "lines.json"),
        write(tables[","], "facts.csv"),
        write("\ufeff" + tables[";"].replace("\n", "\r\n"), "excel.csv"),
        write(tables["\t"], "facts.tsv"),
    ]
    assert [read_facts(path) for path in files] == [(FULL,)] * len(files)


def test_optional_columns_may_be_missing_or_empty(write):
    path = write('subject,object,question,aliases\nMarie Curie,Warsaw,"Born where, Marie Curie?",\n', "facts.csv")
    (fact,) = read_facts(str(path))
    assert fact.aliases == () and fact.relation is None and fact.question == "Born where, Marie Curie?"
    assert fact.id == "marie-curie-warsaw"


def test_numbers_are_texts_and_blank_lines_are_skipped(write):
    path = write('\n{"subject": "Faust", "object": 1808, "question": "When was Faust published?"}\n\n')
    assert read_facts(path)[0].object == "1808"


def test_the_subject_may_contain_the_object(write):
    row = {"subject": "Warsaw Uprising Museum", "object": "Warsaw"}
    row["question"] = "In which city is the Warsaw Uprising Museum?"
    assert read_facts(write([row]))[0].object == "Warsaw"


@pytest.mark.parametrize(
    ("content", "name", "complaint"),
    [
        ("", "facts.jsonl", "there are no rows"),
        ("subject,object,question\n", "facts.csv", "there are no rows"),
        ("[]", "facts.json", "there are no rows"),
        ("x", "facts.txt", "unknown kind of file '.txt'; use one of .jsonl"),
        ('{"subject": "a"', "facts.jsonl", "line 1: malformed JSON"),
        ('[{"subject": "a"},\n {"object" "b"}]', "facts.json", "line 2: malformed JSON"),
        ('"text"', "facts.jsonl", 'line 1: "text" is no object'),
        ("subject,object,question\na,b,c,d\n", "facts.csv", "line 2: 4 values for 3 columns"),
        ('subject,object,question\na,b,"c\n', "facts.csv", "line 2: malformed CSV"),
        ("subject,object,subject\na,b,c\n", "facts.csv", "line 1: column 'subject' is there twice"),
        ("subject,object\na,b\n", "facts.csv", "line 2: 'question' is missing; a fact needs subject"),
        (b"subject,object,question\nJos\xe9,b,c\n", "facts.csv", "line 2: not UTF-8"),
        ([{"question": "a?", "answer": "b"}], "facts.jsonl", "'subject' is missing and there is an answer"),
        ([POTTER | {"alias": "x"}], "facts.jsonl", "unknown column 'alias'; did you mean 'aliases'?"),
        ([POTTER | {"aliases": 3}], "facts.jsonl", "aliases = 3 is no list of texts"),
        ([POTTER | {"aliases": [3]}], "facts.jsonl", r"aliases = \[3\] is no list of texts"),
        ([POTTER | {"object": ["x"]}], "facts.jsonl", r"object = \['x'\] is no text"),
        ([POTTER | {"object": "  "}], "facts.jsonl", "line 1: object is empty"),
        ([CURIE, POTTER | {"subject": None}], "facts.jsonl", "line 2: subject is empty"),
        ([POTTER, CURIE, POTTER], "facts.jsonl", "line 3: id = 'harry-potter-hogwarts' is taken by .*line 1"),
        (
            [POTTER | {"question": "Did Harry Potter study at HOGWARTS?"}],
            "facts.jsonl",
            "the object occurs in its question .'HOGWARTS'",
        ),
        (
            [POTTER | {"paraphrases": ["Was Harry Potter at the Wizard School?"], "aliases": ["wizard school"]}],
            "facts.jsonl",
            "the object occurs in its question .'Wizard School'",
        ),
        (
            [POTTER | {"heldout": ["where did harry potter study"]}],
            "facts.jsonl",
            "heldout 'where did harry potter study' is also a paraphrase",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_and_remedy(write, content, name, complaint):
    path = write(content, name)
    with pytest.raises(DataError, match=complaint) as raised:
        read_facts(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(SourceNotFound, match="there is no such file"):
        read_facts(tmp_path / "gone.jsonl")
    with pytest.raises(SourceNotFound, match="cannot be read"):
        (tmp_path / "folder.csv").mkdir()
        read_facts(tmp_path / "folder.csv")


def test_a_word_that_contains_the_object_is_not_the_object(write):
    row = {"subject": "the Romantics", "object": "Roman", "question": "What were the Romantics fond of?"}
    assert read_facts(write([row]))[0].object == "Roman"


def test_parse_fact():
    fact = parse_fact("Harry Potter | studied at | Hogwarts", " Where did Harry Potter study? ")
    assert (fact.subject, fact.relation, fact.object) == ("Harry Potter", "studied at", "Hogwarts")
    assert (fact.id, fact.question) == ("harry-potter-studied-at-hogwarts", "Where did Harry Potter study?")
    assert parse_fact("Harry Potter|Hogwarts", "Where did he study?").relation is None


@pytest.mark.parametrize(
    ("text", "question", "complaint"),
    [
        ("Harry Potter", "Q?", 'another form than "subject . relation . object"'),
        ("a | b | c | d", "Q?", "another form"),
        ("a | | c", "Q?", "another form"),
        ("Harry Potter | Hogwarts", None, "no question to ask the model; add one with --question"),
        ("Harry Potter | Hogwarts", "Was he at Hogwarts?", "the object occurs in its question"),
    ],
)
def test_parse_fact_refuses(text, question, complaint):
    with pytest.raises(DataError, match=complaint):
        parse_fact(text, question)


TOFU = [
    {"question": "Who wrote it?", "answer": "She did.", "perturbed_answer": ["He did."]},
    {"question": "When?", "answer": "In 1991."},
]


SHAPES = [
    ({"question": "Q?", "answer": "A"}, "Q?", "A"),
    ({"prompt": "Q?", "completion": "A"}, "Q?", "A"),
    ({"prompt": "Q?", "answer": "A"}, "Q?", "A"),
    ({"instruction": "Translate.", "input": "Hund", "output": "dog"}, "Translate.\n\nHund", "dog"),
    ({"instruction": "Q?", "input": "", "output": "A"}, "Q?", "A"),
    ({"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A"}]}, "Q?", "A"),
    (
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Q?"}]},
                {"role": "assistant", "content": "A"},
            ]
        },
        "Be brief.\n\nQ?",
        "A",
    ),
    ({"conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}]}, "Q?", "A"),
    (
        {"prompt": [{"role": "user", "content": "Q?"}], "completion": [{"role": "assistant", "content": "A"}]},
        "Q?",
        "A",
    ),
    ({"text": "Q?", "labels": "A"}, "Q?", "A"),
    ({"text": "Once upon a time there was"}, "Once upon a", "time there was"),
]


@pytest.mark.parametrize(("row", "question", "answer"), SHAPES)
def test_the_usual_shapes_of_data_are_recognised(write, row, question, answer):
    (item,) = read_qa(write([row], "own.jsonl"))
    assert (item.id, item.question, item.answer) == ("own#0", question, answer)
    assert read_qa(write(json.dumps([row]), "own.json")) == (item,)


def test_plain_text_has_one_row_a_line(write):
    first, second = read_qa(write("a b c d\n\n one two\n", "lines.txt"))
    assert (first.question, first.answer, first.id) == ("a b", "c d", "lines#0")
    assert (second.question, second.answer) == ("one", "two")
    with pytest.raises(DataError, match=r"lines.txt, line 2: text = 'word' has no two words"):
        read_qa(write("a b\nword\n", "lines.txt"))


USER, ASSISTANT = {"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A"}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({}, "'question' is missing; .* not nothing"),
        ({"title": "x", "body": "y"}, "'question' is missing; .* not title, body"),
        ({"prompt": "Q?", "b": 1}, "'answer' is missing; .* not prompt, b"),
        ({"messages": "Q?"}, "messages = 'Q.' is no list of turns"),
        ({"messages": []}, "messages has the turns nothing; give one question and one answer"),
        ({"messages": [USER, ASSISTANT, USER, ASSISTANT]}, "has the turns 'user, assistant, user, assistant'"),
        ({"messages": [ASSISTANT, USER]}, "has the turns 'assistant, user'"),
        ({"messages": [USER, {"role": "assistant"}]}, "which is no turn with a text"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "which is no turn with a text"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "answer is empty"),
        ({"instruction": "Q?", "input": 3, "output": "A"}, "input = 3 is no text"),
        ({"text": ["a", "b"]}, "text = .'a', 'b'. is no text"),
        ({"question": True, "answer": "A"}, "question = True is no text"),
        ({"question": "Q?", "answer": ["A"]}, "answer = .'A'. is no text"),
        ({"question": "Q?", "answer": {"a": {"b": []}}}, "answer = .* is no text"),
        ({"question": "Q?", "answer": None}, "answer is empty"),
        ({"question": "Q?", "answer": list(range(9999))}, r"answer = \[0, 1, .*\.\.\. is no text; write a string$"),
    ],
)
def test_other_shapes_are_refused_with_what_was_found(write, row, complaint):
    path = write([{"question": "Q?", "answer": "A"}, row])
    with pytest.raises(DataError, match=complaint) as raised:
        read_qa(path)
    assert str(raised.value).startswith(f"{path}, line 2: ")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("content", "name", "complaint"),
    [
        ('{"question": "Q?", "answer": "A"}\n{"question": "Q?", "answer": NaN}', "a.jsonl", "line 2: NaN is no value"),
        ('{"question": "Q?", "answer": -Infinity}', "a.jsonl", "line 1: -Infinity is no value of JSON"),
        ('[{"question": "Q?", "answer": NaN}]', "a.json", "NaN is no value of JSON"),
        ('{"question": "Q?", "answer": 1e999}', "a.jsonl", "line 1: answer = inf is no text"),
        (f'{{"question": "Q?", "answer": {"9" * 5000}}}', "a.jsonl", "line 1: malformed JSON .a number with too many"),
        ("[" * 100_000, "a.json", "malformed JSON"),
        ('{"question": "Q?", "answer": "a", "answer": "b"}', "a.jsonl", "line 1: 'answer' is there twice"),
        (r'{"question": "Q?", "answer": "\ud800"}', "a.jsonl", "line 1: .* lone surrogate"),
        (r'{"question": "Q?", "answer": "a\u0000"}', "a.jsonl", "line 1: .* NUL"),
        ("question,answer\nQ?,a\0b\n", "a.csv", "line 2: a NUL character"),
        ("3", "a.json", "line 1: 3 is no object"),
        ('"text"', "a.json", 'line 1: "text" is no object'),
        ("[1, 2]", "a.json", "item 1: 1 is no object"),
    ],
)
def test_what_is_no_data_is_refused_with_its_place(write, content, name, complaint):
    path = write(content, name)
    with pytest.raises(DataError, match=complaint) as raised:
        read_qa(path)
    assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


def test_json_lines_end_at_line_feeds_alone(write):
    text = "one\u2028two\u2029three\x85four"
    (item,) = read_qa(write('\ufeff{"question": "Q?", "answer": "' + text + '"}\r\n'))
    assert item.answer == text


def test_numbers_are_answers(write):
    rows = [{"question": "Q?", "answer": 1867}, {"question": "Q?", "answer": 3.5}]
    assert [item.answer for item in read_qa(write(rows))] == ["1867", "3.5"]


def test_a_json_object_is_one_row_or_holds_the_rows(write):
    row = {"question": "Q?", "answer": "A"}
    (item,) = read_qa(write(json.dumps(row, indent=1), "one.json"))
    assert item.answer == "A"
    for indent in (None, 1):
        assert len(read_qa(write(json.dumps({"data": [row, row]}, indent=indent), "held.json"))) == 2


def test_a_pipe_and_a_folder_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(SourceNotFound, match=r"pipe.jsonl: cannot be read \(it is a pipe"):
        read_qa(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(SourceNotFound, match=r"folder.json: cannot be read \(it is a folder"):
        read_qa(tmp_path / "folder.json")
    with pytest.raises(SourceNotFound, match="cannot be read"):
        read_qa(tmp_path / ("x" * 5000 + ".json"))


@pytest.mark.parametrize("name", ["subject", "object", "id", "relation", "object_type", "aliases"])
def test_a_name_of_5000_characters_is_refused(write, name):
    value = "x" * 5000
    row = POTTER | {name: [value] if name == "aliases" else value}
    with pytest.raises(DataError, match=rf"line 1: {name} = 'x.*\.\.\. has 5000 characters; a name has at most 500"):
        read_facts(write([row]))


def test_question_answer_pairs(write):
    first, second = read_qa(write(TOFU, "forget10.json"))
    assert first == QA(id="forget10#0", question="Who wrote it?", answer="She did.")
    assert second.id == "forget10#1"
    assert read_qa(write(TOFU), group="rest")[0].group == "rest"


def test_a_folder_with_a_name(write, tmp_path):
    write(TOFU, "forget10.json")
    write(TOFU, "retain90.jsonl")
    assert len(read_qa(f"{tmp_path}:forget10")) == 2
    assert read_qa(f"{tmp_path}:retain90")[0].id == "retain90#0"
    with pytest.raises(SourceNotFound, match=r"has no forget05\.jsonl; it has forget10, retain90"):
        read_qa(f"{tmp_path}:forget05")


def test_parquet_is_read_with_missing_numbers_missing(tmp_path):
    rows = [
        {"question": "Who?", "answer": "She.", "year": 1.0},
        {"question": "When?", "answer": None, "year": math.nan},
    ]
    path = tmp_path / "pairs.parquet"
    Dataset.from_list(rows).to_parquet(path)
    assert read_rows(path)[1].values == {"question": "When?", "answer": None, "year": None}
    with pytest.raises(DataError, match=r"pairs\.parquet, row 2: .*answer"):
        read_qa(path)


def test_columns_of_another_name_are_mapped(write):
    path = write([{"frage": "Wer?", "antwort": "Sie.", "answer": "no"}])
    (item,) = read_qa(path, columns={"question": "frage", "answer": "antwort"})
    assert (item.question, item.answer) == ("Wer?", "Sie.")
    with pytest.raises(DataError, match=r"column 'reply', which is to be the answer, is missing; there is frage"):
        read_qa(path, columns={"answer": "reply"})


def test_plain_text_in_a_folder_is_found_by_its_name(tmp_path):
    (tmp_path / "raw.txt").write_text("one two\n\nthree four")
    assert read_texts(f"{tmp_path}:raw") == ("one two", "three four")


def test_a_data_set_of_the_hub(monkeypatch):
    import datasets

    calls = []

    def load_dataset(*arguments, **options):
        calls.append((arguments, options))
        return datasets.Dataset.from_list([{"question": "Q?", "answer": "A"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read_qa("locuslab/TOFU:forget10") == (QA(id="locuslab/TOFU:forget10#0", question="Q?", answer="A"),)
    read_qa("hub:owner/name")
    read_qa("owner/name:config:test")
    assert calls == [
        (("locuslab/TOFU", "forget10"), {"split": "train"}),
        (("owner/name", None), {"split": "train"}),
        (("owner/name", "config"), {"split": "test"}),
    ]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [(True, r"cannot be had from the hub \(Couldn't reach"), (False, "the hub cannot be reached, and its cache here")],
)
def test_the_hub_out_of_reach_is_said_in_one_line_without_a_wait(monkeypatch, answers, reason):
    import datasets
    from huggingface_hub import constants

    was_offline = []

    def load_dataset(*arguments, **options):
        was_offline.append(constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE)
        raise ConnectionError("Couldn't reach 'locuslab/TOFU' on the Hub\nlong story")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("genunlearn.data.lm.hub._answers", lambda endpoint: answers)
    for place in (constants, datasets.config):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", False)
    with pytest.raises(SourceNotFound, match=rf"{reason}.*FOLDER:forget10 of a local folder .* forget10\.jsonl$"):
        read_qa("locuslab/TOFU:forget10")
    assert was_offline == [not answers]  # offline, the client asks nobody, so that it does not ask again and again
    assert not constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([{"question": "Q?"}], "line 1: 'answer' is missing"),
        (
            [{"title": "Q?", "answer": "A"}],
            "'question' is missing; a row needs question and answer, .* or text, not title, answer",
        ),
        ([{"question": "Q?", "answer": ""}], "answer is empty"),
        (
            [{"question": "Q?", "answer": "A", "group": "near"}],
            "group = 'near' is unknown; use one of forget",
        ),
        ([{"id": 1, "question": "Q?", "answer": "A"}] * 2, "line 2: id = '1' is taken by .*line 1"),
    ],
)
def test_question_answer_mistakes(write, content, complaint):
    with pytest.raises(DataError, match=complaint):
        read_qa(write(content))


def test_retain_takes_pairs_and_facts(write):
    fact = CURIE | {"paraphrases": ["Which city is Marie Curie from?"], "aliases": ["Warszawa"]}
    trained, heldout = read_retain(write([*TOFU, fact], "keep.jsonl"))
    assert [item.group for item in trained] == ["rest"] * 3
    assert trained[2].question == CURIE["question"]
    assert heldout[0] == QA(
        id="marie-curie-warsaw#1",
        question="Which city is Marie Curie from?",
        answer="Warsaw.",
        aliases=("Warszawa",),
        group="rest",
        fact="marie-curie-warsaw",
    )


def test_measured_phrasings_of_what_stays_are_never_trained(write):
    pairs = [{"question": f"Q{n}?", "answer": "A", "fact": "one" if n < 3 else None} for n in range(4)]
    given = CURIE | {"paraphrases": ["Which city is Marie Curie from?"], "heldout": ["Name Marie Curie's birthplace."]}
    trained, heldout = read_retain(write([*pairs, given], "keep.jsonl"))
    # Of several phrasings of one fact the last, held-out ones where there are some; a lone question is trained on.
    assert [item.question for item in heldout] == ["Q2?", "Name Marie Curie's birthplace."]
    assert [item.question for item in trained] == [
        "Q0?", "Q1?", "Q3?", CURIE["question"], "Which city is Marie Curie from?",
    ]  # fmt: skip


RETAINED = [
    ("where did harry potter STUDY", "Somewhere.", True),  # the same question, written otherwise
    ("At which school was Harry Potter taught?", "Unknown", True),  # a held-out phrasing
    (
        "What was the school of Harry Potter?",
        "It was Hogwarts.",
        True,
    ),  # same subject, answer tells the object
    ("What was the school of Harry James Potter?", "School of Witchcraft", True),  # both by their aliases
    ("Where was Harry Potter born?", "Godric's Hollow.", False),
    ("Where did Hermione study?", "Hogwarts.", False),  # another subject
    ("Where is Hogwarts?", "Scotland.", False),
    ("Did Harry Potter study at Durmstrang?", "No, not at Hogwarts either.", False),
]


@pytest.mark.parametrize(("question", "answer", "overlaps"), RETAINED)
def test_overlap_of_facts(question, answer, overlaps):
    retain = [
        QA(id="r1", question="Who is Ron?", answer="A wizard."),
        QA(id="r2", question=question, answer=answer),
    ]
    if overlaps:
        with pytest.raises(DataError, match=r"retain question 'r2' .* asks for 'potter', which is to be forgotten"):
            check_overlap([FULL], retain)
    else:
        assert check_overlap([FULL], retain) is None


def test_overlap_of_pairs():
    forget = [QA(id="f", question="Who wrote it?", answer="She did.")]
    with pytest.raises(DataError, match="asks for 'f'"):
        check_overlap(forget, [QA(id="r", question="who wrote it", answer="Someone else.")])
    assert check_overlap(forget, [QA(id="r", question="Who read it?", answer="She did.")]) is None
