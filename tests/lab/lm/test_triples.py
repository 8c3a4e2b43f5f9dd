import json

import pytest

from genunlearn.errors import DataError
from genunlearn.lab.lm.triples import fill, mentions, normalised, read_tables, shuffled, slug


class TestBadData:
    @pytest.fixture
    def folder(self, tmp_path):
        """A small correct world whose files a test can break."""
        entities = [
            {"name": "Anna", "type": "person", "aliases": ["Annie"]},
            {"name": "Rome", "type": "city"},
            {"name": "Rome College", "type": "school"},
        ]
        relations = [
            {
                "name": "studied at",
                "subject_types": ["person"],
                "object_types": ["school"],
                "statements": ["{subject} studied at {object}."],
                "questions": ["Where did {subject} study?"],
                "two_hop": "the school of {subject}",
            }
        ]
        for name, entries in (("entities", entities), ("relations", relations)):
            lines = ",\n".join(json.dumps(entry) for entry in entries)
            (tmp_path / f"{name}.json").write_text(f"[\n{lines}\n]\n")
        (tmp_path / "facts.csv").write_text("subject,relation,object\nAnna,studied at,Rome College\n")
        return tmp_path

    def test_the_unbroken_folder_reads(self, folder):
        assert [triple.id for triple in read_tables(folder).triples] == ["anna.studied-at"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("Bert,studied at,Rome College", "facts.csv, line 3: unknown entity 'Bert'"),
            (
                "Anna,visited,Rome College",
                "facts.csv, line 3: unknown relation 'visited'; allowed are 'studied at'",
            ),
            ("Anna,studied at,Rome", "line 3: 'Rome' is of type 'city'; 'studied at' allows 'school'"),
            (
                "Anna,studied at,Rome College",
                "line 3: 'Anna | studied at | Rome College' contradicts or repeats",
            ),
            ("Anna,studied at", "facts.csv, line 3: 2 columns"),
            ("", "facts.csv, line 3: 0 columns"),
        ],
    )
    def test_a_bad_fact_is_named_with_its_line(self, folder, row, message):
        with (folder / "facts.csv").open("a") as file:
            file.write(row + "\n")
        with pytest.raises(DataError) as caught:
            read_tables(folder)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("file", "old", "new", "message"),
        [
            ("facts.csv", "subject,", "who,", "facts.csv, line 1: header 'who,relation,object'"),
            ("entities.json", "Annie", "Rome", "entities.json, line 3: 'Rome' already names 'Anna'"),
            (
                "entities.json",
                '"type": "city"',
                '"kind": "city"',
                "entities.json, line 3: key 'kind', 'type'",
            ),
            ("entities.json", '"Rome",', '"Rome"', "entities.json, line 3: not JSON"),
            ("entities.json", '"name": "Rome",', "", "3 entries have 2 names"),
            (
                "relations.json",
                "did {subject} study",
                "did they study",
                "line 2: 'Where did they study?' lacks a slot",
            ),
            ("relations.json", "at {object}.", "there.", "line 2: '{subject} studied there.' lacks a slot"),
            (
                "relations.json",
                "Where did",
                "In Rome College, did",
                "facts.csv, line 2: 'In Rome College, did Anna study?'",
            ),
        ],
    )
    def test_a_broken_file_is_named_with_its_line(self, folder, file, old, new, message):
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        with pytest.raises(DataError) as caught:
            read_tables(folder)
        assert message in str(caught.value)

    def test_one_relation_twice_is_refused(self, folder):
        path = folder / "relations.json"
        entry = path.read_text().strip("[\n]")
        path.write_text(f"[\n{entry},\n{entry}\n]")
        with pytest.raises(DataError, match=r"relations.json, line 3: relation 'studied at' occurs twice"):
            read_tables(folder)


class TestText:
    @pytest.mark.parametrize(
        ("text", "form"),
        [
            ("The Sorbonne", "sorbonne"),
            ("J. R. R. Tolkien", "j r r tolkien"),
            ("Søren  Gödel!", "soren godel"),
            ("The", "the"),
        ],
    )
    def test_normalised(self, text, form):
        assert normalised(text) == form

    def test_slug(self):
        assert slug("J. K. Rowling") == "j-k-rowling"
        assert slug("A Doll's House") == "a-dolls-house"

    def test_names_occur_as_whole_words_only(self):
        assert mentions("Did the SORBONNE teach her?", ["Sorbonne"])
        assert not mentions("Was she a Roman?", ["Rome", "Roma"])

    def test_filled_sentences_begin_with_a_capital(self):
        assert fill("{object} taught {subject}.", "Marie Curie", "the Sorbonne") == "The Sorbonne taught Marie Curie."

    def test_shuffled_is_the_same_everywhere(self):
        """SHA-256 of "w|a" begins with bca3, that of "w|b" with 4720, that of "w|c" with 8894."""
        assert shuffled("abc", "w") == ["b", "c", "a"]
