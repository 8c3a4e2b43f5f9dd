"""Which modules of the room know which: families do not know each other, and nothing heavy is loaded with them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import genunlearn.reports

ROOM = Path(genunlearn.reports.__file__).parent
NAME = genunlearn.reports.__name__
FAMILIES = {folder.name for folder in ROOM.iterdir() if (folder / "__init__.py").is_file()}


def dotted(path: Path) -> str:
    return ".".join((NAME, *path.relative_to(ROOM).with_suffix("").parts)).removesuffix(".__init__")


def family_of(module: str) -> str:
    first = module.removeprefix(f"{NAME}.").partition(".")[0]
    return first if first in FAMILIES else ""


def test_what_families_share_lies_beside_their_folders() -> None:
    assert {"lm", "diffusion", "network", "audit"} <= FAMILIES
    imports = {
        (dotted(path), node.module)
        for path in ROOM.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(NAME)
    }
    assert len(imports) > 50, "the reader sees next to nothing"
    assert {(a, b) for a, b in imports if family_of(b) and family_of(a) != family_of(b)} == set()


def test_reports_load_neither_torch_nor_matplotlib() -> None:
    modules = sorted(dotted(path) for path in ROOM.rglob("*.py"))
    code = "import sys\n" + "\n".join(f"import {module}" for module in modules)
    code += "\nprint(sorted({'torch', 'transformers', 'matplotlib', 'scipy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
