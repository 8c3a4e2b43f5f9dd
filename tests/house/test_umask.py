"""Whatever saves weights gives them the mode that the umask allows: safetensors by itself makes private files."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2] / "genunlearn"
SAVERS = {"save_file", "save_pretrained"}
MENDERS = {"honour_umask", "replacing"}
COVERED = "lab"
"""Labs write into the cache, which goes over the whole folder once it is complete."""


def called(tree: ast.AST) -> set[str]:
    functions = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {
        f.attr if isinstance(f, ast.Attribute) else f.id for f in functions if isinstance(f, ast.Attribute | ast.Name)
    }


def test_every_module_that_saves_weights_honours_the_umask() -> None:
    found = {path.relative_to(ROOT): called(ast.parse(path.read_text())) for path in ROOT.rglob("*.py")}
    saving = {path: names for path, names in found.items() if names & SAVERS}
    assert len(saving) > 5, "the reader sees next to nothing"
    assert [str(path) for path, names in saving.items() if not names & MENDERS and path.parts[0] != COVERED] == []
    assert "honour_umask" in found[Path("lab/cache.py")]
