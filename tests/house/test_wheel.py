"""The wheel holds everything that the package reads, and works where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*command: str | Path, cwd: Path) -> str:
    """Run `command` without the variables that would lead back to the checkout, and return its output."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "GENUNLEARN_CONFIGS", "GENUNLEARN_PROMPTS")
    env = {name: value for name, value in os.environ.items() if name not in hidden} | {"COLUMNS": "200"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("genunlearn-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel, which borrows the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    install = ["install", "--no-deps", "--no-index", wheel]
    call(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", *install, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Path files in a folder that a path file names are not followed: an editable installation stays unseen.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("source", "inside"),
    [
        ("configs", "genunlearn/_configs"),
        ("prompts", "genunlearn/_prompts"),
        ("genunlearn/lab/worlddata", "genunlearn/lab/worlddata"),
    ],
)
def test_data_files_are_all_in_the_wheel(wheel: Path, source: str, inside: str) -> None:
    expected = files_below(ROOT / source)
    packed = {name.removeprefix(f"{inside}/") for name in zipfile.ZipFile(wheel).namelist() if inside in name}
    assert expected, f"{source} is empty"
    assert {name for name in packed if "__pycache__" not in name} == expected


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    roots = {name.partition("/")[0].partition("-")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert roots == {"genunlearn"}


def test_the_installed_package_is_the_one_that_runs(installed: Path, tmp_path: Path) -> None:
    where = call(installed / "python", "-c", "import genunlearn; print(genunlearn.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))


def test_an_installed_package_lists_its_configs(installed: Path, tmp_path: Path) -> None:
    from genunlearn.config import list_configs

    listed = call(installed / "genunlearn", "ls", "configs", cwd=tmp_path)
    assert any(name.startswith("lm/lab/") for name in list_configs())
    assert [name for name in list_configs() if name not in listed] == []
    assert list(tmp_path.iterdir()) == []
