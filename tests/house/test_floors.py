"""Who may import whom, read from the source: an import inside a function counts, and nothing is loaded.

A room imports from lower floors only. Rooms of one floor do not know each other, except for what their floor
stands on (`GROUND`), and for attacks, which may train (`ALLOWED`). A method never imports another method.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "genunlearn"

FLOORS = {
    **dict.fromkeys(["errors", "registry", "config", "prompts", "records", "shipped", "ledger"], 0),
    **dict.fromkeys(["ops", "processes"], 1),
    **dict.fromkeys(["contracts", "domains", "data"], 2),
    **dict.fromkeys(["engine", "methods", "evaluation", "attacks", "synthesis", "valuation", "backbones"], 3),
    **dict.fromkeys(["lab", "reports"], 4),
    "runs": 5,
    **dict.fromkeys(["cli", PACKAGE], 6),
    "__main__": 7,
}
GROUND = {"errors", "records", "registry", "shipped", "contracts"}
ALLOWED = {("attacks", "engine")}
SHARED_BY_METHODS = {"base", "supervised"}
"""Modules of `methods` that hold no method, but what those of a family share."""


@dataclass(frozen=True)
class Import:
    """One module of the package importing another.

    Attributes:
        source: The importing module, dotted.
        target: The imported module, dotted.
        line: Line of the import in the source.
        when: ``load`` at the top of a module, ``call`` in a function, ``typing`` for type checkers alone.
    """

    source: str
    target: str
    line: int
    when: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def find_modules(root: Path) -> dict[str, Path]:
    """Dotted name to file, for every module of the package in `root`."""
    return {_dotted(path.relative_to(root)): path for path in sorted((root / PACKAGE).rglob("*.py"))}


def read_imports(root: Path) -> list[Import]:
    """Every import of a module of the package by another one."""
    modules = find_modules(root)
    found = (
        Import(source, target, node.lineno, when)
        for source, path in modules.items()
        for node, when in _import_nodes(ast.parse(path.read_text()), "load")
        for target in _targets(node, path.relative_to(root), modules)
        if target.partition(".")[0] == PACKAGE and target != source
    )
    return list(dict.fromkeys(found))  # several names from one module are one import


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _import_nodes(tree: ast.AST, when: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, when
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _import_nodes(node, "call")
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _import_nodes(node, "typing")
        else:
            yield from _import_nodes(node, when)


def _targets(node: ast.Import | ast.ImportFrom, path: Path, modules: dict[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        base = ".".join([*path.parts[: -node.level], *filter(None, [base])])
    names = [alias.name for alias in node.names if not alias.name.startswith("__")]
    return [deeper if (deeper := f"{base}.{name}") in modules else base for name in names]


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def breaches(imports: list[Import]) -> list[str]:
    """Imports that go up a floor, across a floor, or from one method to another."""
    found = []
    for item in imports:
        source, target = _room(item.source), _room(item.target)
        if unknown := sorted({source, target} - FLOORS.keys()):
            found.append(f"{item}: no floor for {', '.join(unknown)}")
        elif source == target:
            # A method is genunlearn.methods.<family>.<method>, be it a module or a package.
            mine, its = item.source.split(".")[:4], item.target.split(".")[:4]
            if source == "methods" and mine != its and its[-1] not in SHARED_BY_METHODS:
                found.append(f"{item}: a method imports a sibling")
        elif FLOORS[target] > FLOORS[source]:
            found.append(f"{item}: floor {FLOORS[source]} imports from floor {FLOORS[target]}")
        elif FLOORS[target] == FLOORS[source] and target not in GROUND and (source, target) not in ALLOWED:
            found.append(f"{item}: both are on floor {FLOORS[source]}")
    return found


def first_cycle(imports: list[Import]) -> list[str]:
    """Modules that import each other while they load, in order; empty if none do."""
    graph: TopologicalSorter[str] = TopologicalSorter()
    for item in imports:
        if item.when == "load":
            graph.add(item.source, item.target)
    try:
        graph.prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_rooms_import_from_lower_floors_only() -> None:
    imports = read_imports(ROOT)
    assert len(imports) > 5, "the reader sees next to nothing"
    assert breaches(imports) == []


def test_every_room_has_a_floor() -> None:
    assert {_room(module) for module in find_modules(ROOT)} - FLOORS.keys() == set()


def test_no_modules_import_each_other() -> None:
    assert first_cycle(read_imports(ROOT)) == []


def test_floor_0_does_not_load_torch() -> None:
    rooms = [f"import {PACKAGE}.{room}" for room, floor in FLOORS.items() if floor == 0]
    code = "\n".join(["import sys", *rooms, "print({'torch', 'transformers'} & set(sys.modules))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


BREACHES = {
    "up": ("ops/a.py", "from genunlearn.engine import loop", "floor 1 imports from floor 3"),
    "up in a function": ("ops/a.py", "def f():\n    import genunlearn.engine", "genunlearn.ops.a:2 imports"),
    "up for types": ("ops/a.py", "if TYPE_CHECKING:\n    import genunlearn.engine", "floor 1 imports"),
    "up, relative": ("ops/a.py", "from ..engine import loop", "imports genunlearn.engine.loop: floor 1"),
    "up to what is not there": ("ops/a.py", "from genunlearn.run import x", "no floor for run"),
    "across": ("engine/loop.py", "import genunlearn.evaluation.lm.probes", "both are on floor 3"),
    "sibling method": ("methods/lm/a.py", "from genunlearn.methods.lm.b import B", "imports a sibling"),
    "sibling, relative": ("methods/lm/a.py", "from .b import B", "a method imports a sibling"),
    "the front door": ("ops/a.py", "import genunlearn", "floor 1 imports from floor 6"),
    "undeclared room": ("attic/a.py", "import genunlearn.errors", "no floor for attic"),
}


@pytest.mark.parametrize(("name", "text", "message"), BREACHES.values(), ids=BREACHES.keys())
def test_a_breach_is_seen(tmp_path: Path, name: str, text: str, message: str) -> None:
    (breach,) = breaches(read_imports(package(tmp_path, {"engine/loop.py": "", name: text})))
    assert message in breach


PERMITTED = {
    "down": ("engine/loop.py", "from genunlearn.ops.logprobs import f\nfrom genunlearn import errors"),
    "a dunder": ("ops/a.py", "from genunlearn import __version__"),
    "ground of the floor": ("domains/a.py", "from genunlearn.contracts import Domain"),
    "an attack that trains": ("attacks/a.py", "from genunlearn.engine import loop"),
    "parts of one method": ("methods/lm/unstar/a.py", "from genunlearn.methods.lm.unstar.b import f"),
    "other packages": ("ops/a.py", "import torch\nfrom transformers import Trainer"),
}


@pytest.mark.parametrize(("name", "text"), PERMITTED.values(), ids=PERMITTED.keys())
def test_what_is_permitted_is_no_breach(tmp_path: Path, name: str, text: str) -> None:
    assert breaches(read_imports(package(tmp_path, {"engine/loop.py": "", name: text}))) == []


def test_a_cycle_is_seen_where_it_bites(tmp_path: Path) -> None:
    cyclic = {"ops/a.py": "from genunlearn.ops import b", "ops/b.py": "from genunlearn.ops import a"}
    cycle = first_cycle(read_imports(package(tmp_path, cyclic)))
    assert set(cycle) == {"genunlearn.ops.a", "genunlearn.ops.b"}
    cyclic["ops/b.py"] = "def f():\n    from genunlearn.ops import a"
    assert first_cycle(read_imports(package(tmp_path, cyclic))) == []


def package(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"__init__.py": "", "errors.py": "", "ops/__init__.py": "", **files}.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
