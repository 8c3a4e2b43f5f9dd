"""Where families of models may be named: in their own folders, in the tables, and in the commands made for one.

A family's folder imports from its own family and from what all share. What all share imports no family, compares no
name of one, and never feels a model for an attribute: a domain says in `offers` what it can be asked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from genunlearn.registry import DOMAINS, FAMILIES, METHODS
from tests.house.test_floors import Import, find_modules, package, read_imports

ROOT = Path(__file__).parents[2]
FOLDERS = {*FAMILIES.names(), "audit"}
"""Folders, and in `config` modules, of one family; an audit counts as one."""
NAMES = {*FAMILIES.names(), *DOMAINS.names()}

FACES = {
    "genunlearn": "unlearn() and value(), for any network, and unlearn_graph()",
    "genunlearn.runs.api": "forget(), erase() and audit()",
    "genunlearn.cli.commands": "forget, ask, value, antisamples",
    "genunlearn.cli.sequence": "forget --sequential",
    "genunlearn.cli.images": "erase, audit, sample",
    "genunlearn.cli.listings": "ls lab lists facts",
    "genunlearn.cli.tables": "synthetic",
    "genunlearn.cli.patching": "patch, of language models and pipelines",
}
"""Modules outside the families that may import from them, with the commands of one family that they hold."""

FEELERS = {
    "genunlearn.registry.table": "looks into a module",
    "genunlearn.domains.pretrained": "looks at a layer of bitsandbytes, whose versions differ",
    "genunlearn.domains.zero3": "looks at what DeepSpeed has written on a weight",
}
"""Modules outside the families that may ask whether a thing has an attribute, with the thing."""


def family_of_module(module: str) -> str | None:
    """The family whose folder or module this is; None for what all share."""
    parts = module.split(".")
    return parts[2] if len(parts) > 2 and parts[2] in FOLDERS else None


def strangers(imports: list[Import]) -> list[str]:
    """Imports from another family, and imports of a family by what all share."""
    found = []
    for item in imports:
        mine, its = family_of_module(item.source), family_of_module(item.target)
        if its is None or its == mine:
            continue
        if mine is not None:
            found.append(f"{item}: {mine} imports from {its}")
        elif item.source not in FACES:
            found.append(f"{item}: what all families share imports from {its}")
    return found


def shared_modules(root: Path) -> Iterator[tuple[str, ast.AST]]:
    """Name and tree of every module that no family owns."""
    for module, path in find_modules(root).items():
        if family_of_module(module) is None:
            yield module, ast.parse(path.read_text())


def feelers(root: Path) -> list[str]:
    """Where what all share asks whether a thing has an attribute: ``hasattr``, or ``getattr`` of a model by name."""
    found = []
    for module, tree in shared_modules(root):
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)) or module in FEELERS:
                continue
            is_default = node.func.id == "getattr" and len(node.args) == 3 and _is_model(node.args[0])
            if node.func.id == "hasattr" or is_default:
                found.append(f"{module}:{node.lineno} {ast.unparse(node)}")
    return found


def _is_model(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lstrip("_") in {"model", "domain", "network", "module"}


def comparisons(root: Path) -> list[str]:
    """Where what all share compares something with the name of a family or a domain."""
    return [
        f"{module}:{node.lineno} {ast.unparse(node)}"
        for module, tree in shared_modules(root)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare | ast.MatchValue) and NAMES & set(_strings(node))
    ]


def _strings(node: ast.AST) -> Iterator[str]:
    return (one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str))


# ---- the package ------------------------------------------------------------------------------------------------


def test_families_do_not_know_each_other() -> None:
    imports = read_imports(ROOT)
    assert any(family_of_module(item.target) for item in imports), "the reader sees no family"
    assert strangers(imports) == []


def test_what_families_share_asks_no_model_for_its_attributes() -> None:
    assert feelers(ROOT) == []


def test_what_families_share_compares_no_names_of_theirs() -> None:
    assert comparisons(ROOT) == []


@pytest.mark.parametrize("allowed", [FACES, FEELERS])
def test_exceptions_are_still_needed(allowed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed.keys() <= find_modules(ROOT).keys()
    before = dict(allowed)
    allowed.clear()
    try:
        found = [*strangers(read_imports(ROOT)), *feelers(ROOT)]
    finally:
        allowed.update(before)
    assert {line.partition(":")[0] for line in found} == before.keys()


GENERAL = [line for line in METHODS.lines() if not line.family]


@pytest.mark.parametrize("line", GENERAL, ids=[line.name for line in GENERAL])
def test_a_general_method_names_no_family(line) -> None:
    kind = METHODS.load(line)
    assert ".methods.general." in line.target
    assert kind.domains is None and kind.asks
    tree = ast.parse(Path(ROOT, *line.target.partition(":")[0].split(".")).with_suffix(".py").read_text())
    assert not NAMES & set(_strings(tree))
    models = [one.annotation for node in ast.walk(tree) if isinstance(node, ast.arguments) for one in node.args]
    domains = {name for name in map(ast.unparse, filter(None, models)) if name.endswith("Domain")}
    assert domains <= {"Domain", "LabelledDomain"}


# ---- the checks themselves --------------------------------------------------------------------------------------

STRANGERS = {
    "another family": ("methods/lm/a.py", "from genunlearn.data.diffusion import b", "lm imports from diffusion"),
    "within a room": ("data/lm/a.py", "from genunlearn.data.diffusion.b import c", "lm imports from diffusion"),
    "an audit": ("runs/lm/a.py", "from genunlearn.runs.audit import run", "lm imports from audit"),
    "for types": ("engine/a.py", "if TYPE_CHECKING:\n    import genunlearn.domains.lm", "what all families share"),
    "in a function": ("evaluation/a.py", "def f():\n    import genunlearn.data.lm", "what all families share"),
    "a configuration": ("config/a.py", "from genunlearn.config.lm import LMConfig", "what all families share"),
}


@pytest.mark.parametrize(("name", "text", "message"), STRANGERS.values(), ids=STRANGERS.keys())
def test_a_stranger_is_seen(tmp_path: Path, name: str, text: str, message: str) -> None:
    (found,) = strangers(read_imports(package(tmp_path, {name: text})))
    assert message in found


ASKED = {
    "engine/a.py": "def f(model):\n    return hasattr(model, 'chat')",
    "engine/b.py": "def f(self):\n    return getattr(self.domain, 'chat', None)",
    "evaluation/c.py": "def f(model):\n    return model.name == 'lm'",
    "runs/d.py": "def f(config):\n    return config.domain in ('classifier', 'regression')",
}


@pytest.mark.parametrize("name", ASKED)
def test_a_question_for_the_kind_of_a_model_is_seen(tmp_path: Path, name: str) -> None:
    root = package(tmp_path, {name: ASKED[name]})
    (found,) = [*feelers(root), *comparisons(root)]
    assert found.startswith(f"genunlearn.{name[:-3].replace('/', '.')}:2 ")
    family = package(tmp_path / "own", {name.replace("/", "/lm/"): ASKED[name]})
    assert [*feelers(family), *comparisons(family)] == []
