"""Runs on federations: from request to record and report, and requests that cannot be met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genunlearn import RunRecord, load_config, run
from genunlearn.config.network import FederatedConfig
from genunlearn.errors import InputError
from genunlearn.lab.network import federated as lab
from genunlearn.registry import RUNS
from genunlearn.reports.network.federated import clients_plot
from genunlearn.reports.reporter import reporter_of
from tests.killed import assert_same, killed_and_resumed

SMALL = (
    "federation.clients=3",
    "federation.rounds=8",
    "federation.width=8",
    "request.limit=300",
    "evaluate.oracles=2",
    "backdoor.size=3",
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytes with one bright quarter, the class is which."""
    generator, path = np.random.default_rng(0), tmp_path_factory.mktemp("pictures") / "quarters.npz"
    columns: dict[str, Any] = {}
    for side, count in (("train", 240), ("test", 120)):
        labels = np.arange(count) % 4
        shown = generator.integers(0, 90, (count, 8, 8))
        for picture, label in zip(shown, labels.tolist(), strict=True):
            top, left = 4 * (label // 2), 4 * (label % 2)
            picture[top : top + 4, left : left + 4] += 90
        columns |= {f"x_{side}": shown.astype(np.uint8), f"y_{side}": labels}
    np.savez(path, **columns)
    return path


def config_of(*overrides: str) -> FederatedConfig:
    config = load_config("federated/digits/conda", overrides)
    assert isinstance(config, FederatedConfig)
    return config


@pytest.fixture(scope="module")
def done(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    """One run of ConDa on a small federation with the usual attacks."""
    folder = tmp_path_factory.mktemp("run") / "conda"
    record = run(config_of(*SMALL, f"request.data={pictures}", "method.alpha=0.7"), out=folder)
    return record, folder


@pytest.mark.slow
def test_our_backdoor_is_visible_in_the_original_and_in_no_oracle(done: tuple[RunRecord, Path]) -> None:
    record, _ = done
    before, never = (record.find("accuracy", target, "backdoor") for target in ("original", "oracle"))
    assert before is not None and never is not None
    assert before.value is not None and never.value is not None
    assert before.value > 0.5 > 0.2 > never.value
    for target in ("original", "oracle"):
        level = record.find("accuracy", target, "retain")
        assert level is not None and level.value is not None and level.value > 0.9


@pytest.mark.slow
def test_a_run_leaves_record_report_and_who_taught_what(done: tuple[RunRecord, Path]) -> None:
    record, folder = done
    assert record.outcome in ("edited", "collapsed") and record.request["forget"] == "client:0"
    measured = {(r.name, r.target) for r in record.results if r.value is not None}
    assert {
        (name, target) for name in ("mia_shadow", "mia_conda") for target in ("original", "unlearned", "oracle")
    } <= measured
    rows = json.loads((folder / "clients.json").read_text())["clients"]
    assert [row["is_going"] for row in rows] == [True, False, False]
    assert (
        sum(rows[0]["items"]) == record.request["forget_items"]
        and rows[0]["poisoned"] == record.request["poisoned_items"]
    )
    assert all(row["moved"] > 0 for row in rows)
    curves = json.loads((folder / "curves.json").read_text())["membership_roc"]
    assert curves["members"] == record.request["forget_items"]  # no poison: it is no item that somebody might look for
    for target in ("original", "unlearned"):
        area = np.trapezoid(curves["true_positive_rates"][target], curves["false_positive_rates"])
        attack = record.find("mia_matched", target, "matched")
        assert attack is not None and area == pytest.approx(attack.value, abs=0.03)
    page = reporter_of(record).write(record, folder).read_text()
    assert "Who taught it" in page and "unseen items with the trigger" in page


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pga", "fed_eraser", "grad_ascent"])
def test_every_method_runs_on_the_cached_federation(method: str, pictures: Path, tmp_path: Path) -> None:
    settings = ("federation.keep_every=1", "evaluate.attacks=[]", f"request.data={pictures}")
    config = load_config(f"federated/digits/{method}", [*SMALL, *settings])
    record = run(config, out=tmp_path / method)
    found = record.find("accuracy", "unlearned", "retain")
    assert found is not None and found.value is not None and record.outcome in ("trained", "collapsed")


@pytest.mark.slow
@pytest.mark.parametrize(("method", "saves"), [("pga", 2), ("fed_eraser", 3)])
def test_a_killed_run_goes_on_to_the_same_numbers(method: str, saves: int, pictures: Path, tmp_path: Path) -> None:
    settings = ("federation.keep_every=1", "evaluate.attacks=[]", f"request.data={pictures}")
    config = load_config(f"federated/digits/{method}", [*SMALL, *settings])
    straight = run(config, out=tmp_path / "straight")
    assert_same(killed_and_resumed(config, tmp_path / "out", saves=saves), straight)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("request.forget=client:3", "client 3 never took part: the clients of this federation are 0 to 2"),
        ("request.forget=", "request.forget is empty"),
        ("request.forget=client:0,1,2", "all 3 clients are to be forgotten"),
        ("request.forget=class:3", "write client:NUMBER"),
        ("request.data=/nowhere.npz", "no file /nowhere.npz"),
        ("request.data=lab:text", "give lab:digits, or an .npz file"),
        ("model.source=lab:digits", "federations are those of lab:federated"),
        ("backdoor.label=7", "backdoor.label = 7: the classes are 0 to 3"),
        ("parameters.kind=lora", "clients send whole networks; set it to full"),
        ("federation.clients=200", "items for 200 clients with at least 10 each"),
        ("backdoor.size=9", "a patch of 9 x 9 pixels"),
        ("evaluate.oracle_folders=[a]", "oracles are taught here"),
        ("model.device=meta", "device"),
    ],
)
def test_what_cannot_be_met_is_one_line_before_anything_is_taught(
    override: str, complaint: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "build_once", lambda *arguments, **options: pytest.fail("a federation was taught"))
    with pytest.raises(InputError) as caught:
        run(config_of(*SMALL, f"request.data={pictures}", override), out=tmp_path / "run")
    assert complaint in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_fed_eraser_asks_for_rounds_before_anything_is_taught() -> None:
    config = load_config("federated/digits/fed_eraser", ["federation.keep_every=0"])
    with pytest.raises(
        InputError, match=r"^method 'fed_eraser' goes through kept rounds again: set federation.keep_every"
    ):
        RUNS.get("federated").check(config)


def test_a_check_says_what_the_run_would_do() -> None:
    said = RUNS.get("federated").check(config_of("request.forget=client:2,5"))
    assert said.startswith("conda on lab:federated, client:2,5: 2 of 10 clients to forget, with ")


def test_the_plot_says_who_goes_and_nothing_without_clients() -> None:
    rows = [
        {"client": 0, "is_going": True, "poisoned": 3, "items": [4, 0], "moved": 3.0},
        {"client": 1, "is_going": False, "poisoned": 0, "items": [1, 2], "moved": 1.0},
    ]
    plot = clients_plot(rows)
    assert plot is not None
    assert plot.alt == (
        "Who taught what. client 0 (to go): 4 items, 0.75 of the movement; client 1: 3 items, 0.25 of the movement."
    )
    assert "client 0" in plot.wide and clients_plot([]) is None
