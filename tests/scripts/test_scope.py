"""`scripts/bench/scope.py`: what is on file is not measured again, and the table by hand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from genunlearn.errors import DataError

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
FACTS = ("carmen.created-by", "frankenstein.created-by")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; it finds its neighbours as it does when it is run."""
    monkeypatch.syspath_prepend(str(BENCH))
    import scope

    return scope


def line(script: ModuleType, method: str, fact: str, told: float, n: int = 4) -> dict[str, str]:
    """Numbers of `n` questions a group, but for one that was not asked at all."""
    shares = {column: str(told) for column in (*script.GROUPS, script.STRENGTH)} | {"two_hop": ""}
    counts = {f"{column} n": str(n) for column in shares} | {"two_hop n": ""}
    took = {} if method == script.ORIGINAL else {"outcome": "forgotten", "steps": "5", "seconds": "2.5", "peak MB": "9"}
    return {"method": method, "fact": fact, **shares, **counts, **took}


def board_of(script: ModuleType, folder: Path, *overrides: str) -> Any:
    return script.Board("lab:lm", FACTS, overrides, folder, folder / "rows.csv")


def carried_out(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Pools that run nothing: what was asked of them, answered by hand."""
    asked: list[tuple[str, Any]] = []

    class Pool:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: Any) -> None: ...

        def submit(self, _: Any, name: str, model: str, facts: Any, *__: Any) -> Pool:
            asked.append((name, facts))
            return self

        def result(self) -> list[dict[str, str]]:
            name, facts = asked[-1]
            if name == "rome":
                raise DataError("no facts")
            pairs = ((script.ORIGINAL, 1.0), (name, 0.25))
            return [line(script, method, fact, told) for fact in facts for method, told in pairs]

    monkeypatch.setattr(script, "ProcessPoolExecutor", Pool)
    return asked


def test_what_is_on_file_is_not_done_again(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = carried_out(script, monkeypatch)
    first = board_of(script, tmp_path)
    assert first.fill(["npo"], 1) == {} and asked == [("npo", [*FACTS])]
    again = board_of(script, tmp_path)
    assert again.fill(["npo"], 1) == {} and len(asked) == 1
    tables = [script.rows({name: each.lines(name) for name in ("original", "npo")}) for each in (first, again)]
    assert tables[0] == tables[1] and "| npo | 0.250" in tables[0]
    assert again.fill(["rome"], 1) == {"rome": "no facts"}


def test_numbers_of_other_settings_are_not_taken(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = carried_out(script, monkeypatch)
    board_of(script, tmp_path).fill(["npo"], 1)
    other = board_of(script, tmp_path, "train.max_steps=3")
    other.fill(["npo"], 1)
    assert len(asked) == 2 and other.out != board_of(script, tmp_path).out
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + 2 * 2 * 2  # both stay on file


def test_two_that_fill_one_file_lose_nothing(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    carried_out(script, monkeypatch)
    one, other = board_of(script, tmp_path), board_of(script, tmp_path)
    one.fill(["npo"], 1)
    other.fill(["wga"], 1)
    assert {key[2] for key in script.read_lines(tmp_path / "rows.csv")} == {"original", "npo", "wga"}


def test_shares_are_pooled_over_questions_and_resampled_over_requests(script: ModuleType) -> None:
    runs = [line(script, "npo", FACTS[0], 1.0, n=1), line(script, "npo", FACTS[1], 0.0, n=3)]
    original = [line(script, "original", fact, 1.0) for fact in FACTS]
    head, _, before, after = script.rows({"original": original, "npo": runs}).splitlines()
    assert "forget (n=8)" in head and "two_hop (n=0)" in head
    assert before.startswith("| original | 1.000 [0.16, 1.00] |") and before.endswith("|  |  |  |  |")
    assert after.startswith("| npo | 0.250 [0.00, 1.00] |") and "| - |" in after
    assert after.endswith("| 2/2 | 5 | 2.5 | 9 |")


def test_what_is_on_file_is_shown_and_nothing_is_run(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Methods of which there are fewer runs stand beside the others: the column of those that ended says how many."""
    facts = script.random.Random(0).sample([t.id for t in script.world_of("lm").triples], 2)
    lines = [line(script, name, fact, 0.25) for name in ("original", "npo") for fact in facts]
    board = script.Board("lab:lm", facts, (), tmp_path, tmp_path / "rows.csv")
    board._keep([*lines, line(script, "rome", facts[1], 0.25)])
    command = ["scope.py", "--requests", "2", "--known", "--methods", "npo,rome,rmu", "--rows"]
    monkeypatch.setattr("sys.argv", [*command, str(tmp_path / "rows.csv")])
    monkeypatch.setattr(script.Board, "fill", lambda *_: pytest.fail("something was run"))
    script.main()
    npo, rome = capsys.readouterr().out.splitlines()[-2:]
    assert npo.startswith("| npo |") and "| 2/2 |" in npo
    assert rome.startswith("| rome |") and "| 1/1 |" in rome
    monkeypatch.setattr("sys.argv", [*command, str(tmp_path / "none.csv")])
    with pytest.raises(SystemExit):
        script.main()
    assert "name a file that there is" in capsys.readouterr().err
    page = tmp_path / "page.md"
    page.write_text("<!-- lm -->\n\nas it was\n\n<!-- end lm -->\n", encoding="utf-8")
    rows = ["--rows", str(tmp_path / "rows.csv"), "--write", str(page), "--set", "seed=9"]
    monkeypatch.setattr("sys.argv", [*command[:-1], *rows])
    with pytest.raises(SystemExit):
        script.main()
    assert "none of npo, rome, rmu stands in" in capsys.readouterr().err
    assert "as it was" in page.read_text(encoding="utf-8")


def test_an_interval_is_no_point_where_all_requests_agree(script: ModuleType) -> None:
    # Exact: none of 3 allows 0.71, all of 3 ask for 0.29; half of two requests of 4, and of a single one, by questions.
    def cell(*told: float) -> str:
        return script.pooled([line(script, "npo", "fact", share) for share in told], "forget")

    assert cell(0.0, 0.0, 0.0) == "0.000 [0.00, 0.71]"
    assert cell(1.0, 1.0, 1.0) == "1.000 [0.29, 1.00]"
    assert cell(0.5, 0.5) == "0.500 [0.16, 0.84]"
    assert cell(0.5) == "0.500 [0.07, 0.93]"
    assert cell(1.0) == "1.000 [0.40, 1.00]"
    strength = script.pooled([line(script, "npo", "fact", 0.3)], script.STRENGTH)
    assert strength == "0.300"  # a mean of shares: no number of questions says how far it may lie
