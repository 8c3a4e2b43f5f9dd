"""The scope table: which rows and columns, and how it looks in Markdown and in a terminal."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

import pytest
from rich.console import Console

from genunlearn.records import Result, RunRecord
from genunlearn.reports.cells import named_records
from genunlearn.reports.lm.scope import scope_grid, scope_table
from genunlearn.reports.lm.terminal import print_scope
from genunlearn.reports.markdown import Verbatim, escape_markdown

Make = Callable[..., RunRecord]
GROUPS = (
    "forget",
    "forget_heldout",
    "two_hop_through",
    "same_subject",
    "same_object",
    "same_relation",
    "two_hop",
    "rest",
)


def without_oracle(record: RunRecord) -> RunRecord:
    return dataclasses.replace(record, results=[r for r in record.results if r.target != "oracle"])


def printed(records: object, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_scope(records, console)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_one_run_has_before_after_and_oracle(record: RunRecord) -> None:
    grid = scope_grid(record)
    assert [row.label for row in grid.rows] == ["before", "after", "oracle"]
    assert grid.groups == GROUPS
    assert [cell.text for cell in grid.rows[1].cells][3:5] == ["1.00 [0.86, 1.00] (n=24)", "0.98 [0.89, 0.996] (n=48)"]


def test_groups_keep_the_order_of_the_scope_and_new_ones_follow() -> None:
    results = [
        Result(name="recall", target="original", value=1.0, n=1, group=group) for group in ("mine", "rest", "forget")
    ]
    assert scope_grid(RunRecord(results=results)).groups == ("forget", "rest", "mine")


def test_methods_by_name_in_one_record_are_rows() -> None:
    results = [
        Result(name="recall", target=target, value=1.0, n=1, group="rest") for target in ("oracle", "npo", "original")
    ]
    grid = scope_grid(RunRecord(results=results))
    assert [row.label for row in grid.rows] == ["before", "NPO", "oracle"]


def test_several_runs_share_their_controls(make_record: Make) -> None:
    grid = scope_grid([make_record(), make_record("grad_diff"), make_record("npo")])
    assert [row.label for row in grid.rows] == ["original", "UnSTAR", "GradDiff", "NPO", "oracle"]


def test_controls_that_differ_are_not_mixed_up(make_record: Make) -> None:
    other = make_record("npo")
    other.results = [
        dataclasses.replace(r, value=0.5) if (r.target, r.group) == ("original", "rest") else r for r in other.results
    ]
    grid = scope_grid({"A": make_record(), "B": without_oracle(other)})
    assert [row.label for row in grid.rows] == ["original of A", "original of B", "A", "B", "oracle"]


def test_a_method_that_ran_twice_is_numbered(make_record: Make) -> None:
    assert list(named_records([make_record(), make_record(), make_record("npo")])) == ["UnSTAR", "UnSTAR (2)", "NPO"]


def test_a_missing_oracle_is_shown_with_its_reason(record: RunRecord) -> None:
    record = without_oracle(record)
    record.results.append(Result(name="recall", target="oracle", value=None, skipped="evaluate.oracle = never"))
    grid = scope_grid(record)
    assert grid.groups == GROUPS
    assert {cell.text for cell in grid.rows[2].cells} == {"not measured (1)"}
    assert grid.reasons == ("evaluate.oracle = never",)
    assert scope_table(record).endswith("\n\nNot measured: (1) evaluate.oracle = never.")
    assert "(1) not measured: evaluate.oracle = never" in printed(record, 200)


def test_markdown_has_one_line_a_model_and_n_in_every_cell(make_record: Make) -> None:
    header, rule, *rows = scope_table([make_record(), make_record("npo", {"same_object": 0.5})]).splitlines()
    assert header.startswith("| Model | The fact | The fact, new phrasings |")
    assert rule == "| " + " | ".join(["---"] * 9) + " |"
    assert [row.split(" | ")[0] for row in rows] == ["| original", "| UnSTAR", "| NPO", "| oracle"]
    assert rows[2].split(" | ")[5] == "0.50 [0.36, 0.64] (n=48)"
    assert all(row.count("(n=") == 8 for row in rows)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a | b", r"a \| b"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("[click](http://evil)", r"\[click](http://evil)"),
        ("[0.90, 0.99]", "[0.90, 0.99]"),
        ("two\n# lines", r"two \# lines"),
        ("*bold* `code` snake_case _it_", r"\*bold\* \`code\` snake_case \_it\_"),
        (Verbatim("| as | is |"), "| as | is |"),
    ],
)
def test_what_records_say_stays_text_in_markdown(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_terminal_has_models_in_rows_where_there_is_room(make_record: Make) -> None:
    lines = printed([make_record(), make_record("npo", {"same_object": 0.5})], 200).splitlines()
    (npo,) = [line for line in lines if line.startswith("NPO ")]
    assert "✗ 0.50 [0.36, 0.64]" in npo
    assert "n=48" in "".join(lines)


@pytest.mark.parametrize("width", [200, 130, 80])
def test_terminal_shows_every_number_whole_at_any_width(make_record: Make, width: int) -> None:
    records = [make_record(), make_record("grad_diff", {"same_subject": 0.75}), make_record("npo", {"rest": 0.5})]
    text = printed(records, width)
    table = text[: text.index("\n~ less")]  # sentences below it are as long as they are, to be copied whole
    assert max(map(len, table.splitlines())) <= width
    for part in ("~ 0.75", "[0.55, 0.88]", "✗ 0.50", "[0.43, 0.57]", "n=200", "oracle", "GradDiff"):
        assert part in text


def test_terminal_puts_n_into_the_cell_where_models_differ(record: RunRecord) -> None:
    record.results = [
        dataclasses.replace(r, n=7) if (r.target, r.group) == ("oracle", "rest") else r for r in record.results
    ]
    text = printed(record, 220)
    assert "n=7" in text and "n=200" in text


def test_terminal_takes_names_literally(make_record: Make) -> None:
    assert "[red]mine[/red]" in printed({"[red]mine[/red]": make_record()}, 200)
