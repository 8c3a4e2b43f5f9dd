"""Request files: what is read, and the one line that each mistake gets."""

import json
from pathlib import Path

import pytest

from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.requests import check_overlap, parse_fact, read_facts, read_qa, read_retain
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


def test_the_hub_out_of_reach_is_said_in_one_line(monkeypatch):
    import datasets

    def load_dataset(*arguments, **options):
        raise ConnectionError("Couldn't reach 'locuslab/TOFU' on the Hub\nlong story")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(SourceNotFound, match=r"cannot be had from the hub \(Couldn't reach .*FOLDER:forget10$"):
        read_qa("locuslab/TOFU:forget10")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([{"question": "Q?"}], "line 1: 'answer' is missing"),
        (
            [{"prompt": "Q?", "answer": "A"}],
            "'question' is missing; a row needs question and answer, not prompt",
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
    items = read_retain(write([*TOFU, fact], "keep.jsonl"))
    assert [item.group for item in items] == ["rest"] * 4
    assert items[3] == QA(
        id="marie-curie-warsaw#1",
        question="Which city is Marie Curie from?",
        answer="Warsaw.",
        aliases=("Warszawa",),
        group="rest",
    )


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
