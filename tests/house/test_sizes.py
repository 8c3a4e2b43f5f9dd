"""How big a file, a function and a signature may grow, and names that say nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "genunlearn").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))

FILE_LINES = 400
FUNCTION_LINES = 100
PARAMETERS = 7
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "misc", "common"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def lines_of(node: Function) -> int:
    """Lines from ``def`` to the end without the docstring, which may be as long as it needs to be."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def parameters_of(node: Function) -> int:
    """How many arguments a caller chooses among: ``self``, ``cls`` and variadic ones do not count."""
    positional = [*node.args.posonlyargs, *node.args.args]
    bound = positional[:1] if positional and positional[0].arg in ("self", "cls") else []
    return len(positional) - len(bound) + len(node.args.kwonlyargs)


def is_command(path: Path) -> bool:
    """Whether functions of the file are command lines, whose parameters are the options a person sees."""
    return "cli" in path.relative_to(ROOT).parts


def test_files_have_one_idea() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert sizes, "no source found"
    assert {name: lines for name, lines in sizes.items() if lines > FILE_LINES} == {}


def test_functions_fit_on_a_page() -> None:
    assert {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines_of(node)
        for path in [*SOURCES, *TESTS]
        for node in functions(ast.parse(path.read_text()))
        if lines_of(node) > FUNCTION_LINES
    } == {}


def test_signatures_can_be_remembered() -> None:
    assert {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": parameters_of(node)
        for path in SOURCES
        if not is_command(path)
        for node in functions(ast.parse(path.read_text()))
        if parameters_of(node) > PARAMETERS
    } == {}


def test_names_say_what_is_inside() -> None:
    assert [str(path.relative_to(ROOT)) for path in [*SOURCES, *TESTS] if path.stem in EMPTY_NAMES] == []


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("def f(): ...", 0),
        ("def f(a, /, b, *, c=1): ...", 3),
        ("def f(self, a, *rest, **options): ...", 1),
        ("async def f(cls, a, b, c, d, e, f, g): ...", 7),
    ],
)
def test_parameters_are_counted_as_a_caller_sees_them(signature: str, expected: int) -> None:
    (node,) = functions(ast.parse(signature))
    assert parameters_of(node) == expected


def test_a_docstring_does_not_lengthen_a_function() -> None:
    (node,) = functions(ast.parse('def f():\n    """One\n\n    two.\n    """\n    a = 1\n    return a'))
    assert lines_of(node) == 3
