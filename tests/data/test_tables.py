"""Tables from files: kinds of columns, blanks, and everything that a file can do wrong, in one line each."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from genunlearn.data.tables import Reading, as_table, like, read_columns, read_table
from genunlearn.errors import DataError, InputError

ROWS = ["a,b,kind,target"] + [f"{k},{k * k / 2},{'uv'[k % 2]},{k % 3}" for k in range(12)]


def write(folder, lines=ROWS, name="table.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_kinds_of_columns(tmp_path):
    table = read_table(write(tmp_path), Reading(categories=("target",)))
    assert [column.levels for column in table.columns] == [None, None, ("u", "v"), ("0", "1", "2")]
    assert table.target == 3 and len(table) == 12
    assert table.values[5].tolist() == [5, 12.5, 1, 2]
    lines = table.csv().splitlines()
    assert lines[0] == ROWS[0] and lines[6] == "5,12.5,v,2"


def test_blanks_are_missing_numbers_and_a_category_of_their_own(tmp_path):
    lines = [*ROWS[:1], "NA,1,,0", "1,,u,1", *ROWS[3:]]
    table = read_table(write(tmp_path, lines))
    assert np.isnan(table.values).sum() == 2
    assert table.columns[2].levels == ("", "u", "v") and table.columns[3].levels is None
    assert table.csv().splitlines()[1] == ",1,,0"


def test_two_numbers_are_a_category_unless_said(tmp_path):
    lines = [line.rpartition(",")[0] + f",{k % 2}.0" if k else line for k, line in enumerate(ROWS)]
    assert read_table(write(tmp_path, lines)).columns[3].levels == ("0", "1")
    assert read_table(write(tmp_path, lines), Reading(numbers=("target",))).columns[3].levels is None


def test_long_whole_numbers_are_no_categories_though_their_floats_are_one(tmp_path):
    lines = ["id,x,target", *(f"{10**30 + k},{2**63 - k},{k % 2}" for k in range(12))]
    table = read_table(write(tmp_path, lines))
    assert [column.is_category for column in table.columns] == [False, False, True]


def test_columns_are_parted_by_commas_semicolons_or_tabs(tmp_path):
    tables = [read_table(write(tmp_path, [line.replace(",", mark) for line in ROWS])) for mark in ",;\t"]
    assert [table.columns for table in tables] == [tables[0].columns] * 3
    commas = ["a;target", *(f"1,{k};{k % 2}" for k in range(9))]
    assert read_table(write(tmp_path, commas), Reading(categories=("a",))).columns[0].is_category


def test_parquet_and_csv_are_one_table(tmp_path):
    cells = read_columns(write(tmp_path))
    columns = {"a": pyarrow.array([float(text) for text in cells["a"]]), "b": [float(text) for text in cells["b"]]}
    columns |= {"kind": pyarrow.array(cells["kind"]).dictionary_encode(), "target": [int(t) for t in cells["target"]]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "table.parquet")
    one, other = read_table(tmp_path / "table.csv"), read_table(tmp_path / "table.parquet")
    assert one.columns == other.columns
    np.testing.assert_array_equal(one.values, other.values)


def test_synthetic_rows_are_read_in_the_terms_of_the_real_ones(tmp_path):
    known = read_table(write(tmp_path), Reading(categories=("target",)))
    cells = read_columns(write(tmp_path, [*ROWS[:1], *(line.replace("v", "new") for line in ROWS[1:])], "other.csv"))
    table = like(known, cells, "other.csv")
    assert table.columns[2].levels == ("u", "v", "new") and set(table.values[:, 2]) == {0, 2}
    for change, message in (({"a": ["x"] * 12}, "'x' is no number"), ({"target": [""] * 12}, "is blank in row 1")):
        with pytest.raises(DataError, match=message):
            like(known, {**cells, **change}, "other.csv")
    del cells["b"]
    with pytest.raises(DataError, match="no column 'b', which the real table has"):
        like(known, cells, "other.csv")


WIDE = [*ROWS[:1], *(f"{k},1,name{k},{k % 3}" for k in range(300))]
BAD = {
    "nothing": ([], {}, "there are no rows"),
    "a head alone": (ROWS[:1], {}, "there are no rows"),
    "one row": (ROWS[:2], {}, "at least 8 are needed|is the same in all"),
    "ragged, short": ([*ROWS[:4], "1,2", *ROWS[4:]], {}, r"line 5: 2 values for 4 columns: 'kind' lacks"),
    "ragged, long": ([*ROWS[:4], "1,2,u,0,9", *ROWS[4:]], {}, r"line 5: 5 values for 4 columns"),
    "nothing but infinite": (
        [ROWS[0], *("inf," + row.partition(",")[2] for row in ROWS[1:])],
        {},
        r"column 'a', row 1: 'inf' is beyond 1e\+100",
    ),
    "infinite": ([*ROWS, "inf,1,u,0"], {}, r"column 'a', row 13: 'inf' is beyond 1e\+100"),
    "huge": ([*ROWS, "1e300,1,u,0"], {}, r"row 13: '1e300' is beyond"),
    "identifier": (WIDE, {}, "column 'kind' has 300 different texts"),
    "blank column": ([ROWS[0], *(",1,u," + line[-1] for line in ROWS[1:])], {}, "column 'a' is blank in all rows"),
    "blank target": ([*ROWS, "1,1,u,"], {}, "the target 'target' is blank in row 13"),
    "one target": ([line[:-1] + "0" if k else line for k, line in enumerate(ROWS)], {}, "is the same in all rows"),
    "a class a row": (["a,target", *(f"1,k{k}" for k in range(9))], {}, "has 9 classes in 9 rows: .* an identifier"),
    "no target": (ROWS, {"target": "y"}, "no target column 'y'; its columns are 'a', 'b', 'kind', 'target'"),
    "target left out": (ROWS, {"drop": ("target",)}, "no target column: name one of"),
    "unknown column": (ROWS, {"drop": ("id",)}, "no column 'id'"),
    "one column": (["target", *"123456789"], {}, "one column"),
    "twice": (["a,a,target", *["1,2,3"] * 9], {}, "column 'a' is there twice"),
    "text among numbers": ([*ROWS, "1,x,u,0"], {"numbers": ("b",)}, "column 'b', row 13: 'x' is no number"),
    "decimal commas": (
        ["a;target", *(f"1,{k};{k % 2}" for k in range(9))],
        {},
        "column 'a' holds numbers with a comma",
    ),
    "quotes": ([*ROWS, '"1,1,u,0'], {}, "malformed CSV"),
}


@pytest.mark.parametrize(("lines", "given", "message"), BAD.values(), ids=BAD.keys())
def test_a_table_that_cannot_be_used_is_refused_in_one_line(lines, given, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        read_table(write(tmp_path, lines), Reading(**given))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "latin.csv").write_bytes("a,target\nü,1\n".encode("latin-1"))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    parquet.write_table(pyarrow.table({"a": [[1], [2]], "target": [0, 1]}), tmp_path / "nested.parquet")
    for name, message in {
        "latin.csv": "not UTF-8",
        "broken.parquet": "not a Parquet file",
        "nested.parquet": "column 'a' holds list",
        "none.parquet": "there is no such file",
        "none.csv": "there is no such file",
        "a.xlsx": "there is no such file",
    }.items():
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / name)


def test_times_are_texts():
    cells = {"when": [datetime.date(2020, 1, 1 + k % 3) for k in range(9)], "target": list(range(9))}
    assert as_table(cells, Reading(), "cells").columns[0].levels == ("2020-01-01", "2020-01-02", "2020-01-03")
    with pytest.raises(DataError, match="a cell of type list"):
        as_table({"a": [[1]] * 9, "target": list(range(9))}, Reading(), "cells")
