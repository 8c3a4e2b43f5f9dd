"""The cache of lab models: built once by whoever comes first, whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from genunlearn.errors import InputError
from genunlearn.lab.cache import build_once, cache_root, is_built, lab_path, read_card, recipe_key
from genunlearn.records import hash_files


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GENUNLEARN_CACHE", str(folder))
    return folder


def write_weights(text: str):
    def build(folder: Path) -> dict[str, str]:
        (folder / "weights").write_text(text)
        return {"text": text}

    return build


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "lab").iterdir() if path.suffix != ".lock")


def test_a_build_is_stored_with_its_card(cache: Path) -> None:
    folder = build_once("lm", "abc", write_weights("one"))
    assert folder == cache / "lab" / "lm-abc" == lab_path("lm", "abc")
    assert (folder / "weights").read_text() == "one"
    assert read_card(folder) == {"text": "one"}
    assert left_in(cache) == ["lm-abc"]


def test_what_is_there_is_not_built_again(cache: Path) -> None:
    build_once("lm", "abc", write_weights("one"))
    folder = build_once("lm", "abc", write_weights("two"))
    assert (folder / "weights").read_text() == "one"
    assert build_once("lm", "other", write_weights("two")) != folder


def test_force_replaces_the_whole_folder(cache: Path) -> None:
    folder = build_once("lm", "abc", write_weights("one"))
    (folder / "stray").touch()
    build_once("lm", "abc", write_weights("two"), force=True)
    assert (folder / "weights").read_text() == "two"
    assert not (folder / "stray").exists()


def fail(folder: Path) -> dict[str, str]:
    (folder / "weights").write_text("half")
    raise KeyboardInterrupt


def test_an_interrupted_build_leaves_nothing(cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_once("lm", "abc", fail)
    assert left_in(cache) == []
    assert not is_built(lab_path("lm", "abc"))


def test_an_interrupted_rebuild_leaves_the_old_one(cache: Path) -> None:
    folder = build_once("lm", "abc", write_weights("one"))
    with pytest.raises(KeyboardInterrupt):
        build_once("lm", "abc", fail, force=True)
    assert (folder / "weights").read_text() == "one"
    assert left_in(cache) == ["lm-abc"]


def test_what_a_killed_build_left_is_cleared_away(cache: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=build_once, args=("lm", "abc", die))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert left_in(cache) == [".lm-abc.new"]
    folder = build_once("lm", "abc", write_weights("one"))
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "files.json", "weights"]
    assert left_in(cache) == ["lm-abc"]


def die(folder: Path) -> dict[str, str]:
    (folder / "half").touch()
    os._exit(9)


def test_two_processes_build_once(cache: Path, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(2)
    processes = [fork.Process(target=build_slowly, args=(tmp_path / f"{n}", together)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    built = [path.name for path in tmp_path.glob("*.built")]
    waited = [path.name for path in tmp_path.glob("*.waited")]
    assert sorted([*built, *waited]) in (["0.built", "1.waited"], ["0.waited", "1.built"])


def build_slowly(trace: Path, together) -> None:
    def build(folder: Path) -> dict[str, str]:
        time.sleep(0.5)
        trace.with_suffix(".built").touch()
        return {}

    together.wait()
    build_once("lm", "abc", build, on_wait=lambda folder: trace.with_suffix(".waited").touch())


def test_an_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENUNLEARN_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file.lab cannot be written; set GENUNLEARN_CACHE"):
        build_once("lm", "abc", write_weights("one"))


def test_the_key_covers_parameters_files_and_version(tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text("1")
    key = recipe_key({"steps": 1, "seed": 0}, files=[data])
    assert key == recipe_key({"seed": 0, "steps": 1}, files=[data]), "order of parameters does not count"
    others = [
        recipe_key({"steps": 2, "seed": 0}, files=[data]),
        recipe_key({"steps": 1, "seed": 0}, files=[]),
        recipe_key({"steps": 1, "seed": 0}, files=[data], version=2),
    ]
    data.write_text("2")
    others.append(recipe_key({"steps": 1, "seed": 0}, files=[data]))
    assert len({key, *others}) == 5


def test_the_cache_is_the_users_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENUNLEARN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_root() == Path("/somewhere/genunlearn")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "genunlearn"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_root() == Path.home() / "Library" / "Caches" / "genunlearn"


# ---- damage -----------------------------------------------------------------------------------------------------


def overwrite(path: Path, content: bytes) -> None:
    """Write as a fault of a disk does not: the time of the file changes with it."""
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: overwrite(folder / "weights", b"onE"), "weights has changed"),
        (lambda folder: overwrite(folder / "weights", b""), "weights has changed"),
        (lambda folder: (folder / "weights").unlink(), "weights is missing"),
        (lambda folder: (folder / "card.json").write_text("{"), "card.json:1: not JSON"),
        (lambda folder: (folder / "card.json").write_text("[]"), "card.json is no card"),
        (lambda folder: (folder / "files.json").write_text("[1]"), "files.json or what it names cannot be read"),
        (lambda folder: (folder / "files.json").write_text('{"weights": {}}'), "files.json or what it names"),
    ],
)
def test_a_damaged_build_is_named_and_built_anew(damage, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = build_once("lm", "abc", write_weights("one"))
    damage(folder)
    build_once("lm", "abc", write_weights("two"))
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"the cached lab model {folder} is damaged (")
    assert reason in message and message.endswith("): it is built anew")
    assert (folder / "weights").read_text() == "two"


def test_files_are_hashed_only_when_size_or_time_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_once("lm", "abc", write_weights("one"))
    hashed: list[str] = []

    def hash_and_tell(paths: list[Path]) -> str:
        hashed.extend(path.name for path in paths)
        return hash_files(paths)

    monkeypatch.setattr("genunlearn.lab.cache.hash_files", hash_and_tell)
    build_once("lm", "abc", fail)
    assert hashed == []
    os.utime(folder / "weights", ns=(1, 1))  # a copy of a cache, for instance
    for _ in range(2):
        build_once("lm", "abc", fail)
    assert hashed == ["weights"]


def test_a_build_of_an_older_version_gets_its_list(caplog: pytest.LogCaptureFixture) -> None:
    folder = build_once("lm", "abc", write_weights("one"))
    (folder / "files.json").unlink()
    build_once("lm", "abc", fail)
    overwrite(folder / "weights", b"onE")
    build_once("lm", "abc", write_weights("two"))
    assert "weights has changed" in caplog.text
