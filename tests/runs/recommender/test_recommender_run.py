"""Runs on recommenders from folders: what they leave, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from genunlearn.config import build_config
from genunlearn.errors import ConfigError, DataError, GenunlearnError, MismatchError, NameNotFound, SourceNotFound
from genunlearn.registry import REPORTS
from genunlearn.reports.headline import Tone
from genunlearn.reports.recommender.reading import read_rankings
from genunlearn.runs.run import Run
from tests.killed import assert_same, killed_and_resumed
from tests.small_recommenders import small_catalogue, small_recommender, write_mmrec


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a recommender, one that never saw users 2 and 3, and their data."""
    root, data = tmp_path_factory.mktemp("recommenders"), small_catalogue()
    write_mmrec(root / "data", data)
    small_recommender("lightgcn").save(root / "model")
    stays = (data.train[:, 0] != 2) & (data.train[:, 0] != 3)
    small_recommender("lightgcn", pairs=data.train[stays]).save(root / "oracle")
    return root


@pytest.fixture
def settings(models: Path) -> dict[str, Any]:
    return {
        "domain": "recommender",
        "model": {"source": str(models / "model")},
        "request": {"forget": "users:2,3", "data": str(models / "data")},
        "method": {"name": "mmrecun", "forget_weight": 0.3},
        "train": {"learning_rate": 0.05, "batch_size": 64, "max_steps": 25},
        "evaluate": {
            "attacks": ["choice_membership", {"name": "choice_relearning", "steps": 2}],
            "oracle_folders": [str(models / "oracle")],
        },
    }


def test_a_run_measures_attacks_deletes_and_reports(settings: dict[str, Any], tmp_path: Path) -> None:
    config: Any = build_config(settings)
    record = Run(config, tmp_path / "out")()
    assert record.status == "completed"
    recall = {t: record.find("recall", t, "forget@5").value for t in ("original", "unlearned", "oracle")}
    assert recall["unlearned"] < recall["original"] - 0.2
    deleted = record.find("recall_deleted", "original", "forget@20")
    assert deleted is not None and (deleted.n, deleted.value <= 1) == (2, True)
    groups = {result.group for result in record.results if result.name == "ndcg"}
    assert groups == {f"{group}@{k}" for group in ("forget", "valid", "test") for k in (5, 10, 20, 50)}
    keys = [(result.name, result.target, result.group) for result in record.results]
    assert len(keys) == len(set(keys))
    for target in ("original", "unlearned", "oracle"):
        assert record.find("choice_membership", target, "pairs").n == 2 * 6 + 2 * 2
        assert record.find("choice_relearning", target, "step 2") is not None
    assert (record.request["forget_users"], record.request["forget_interactions"]) == (2, 12)
    assert "data" not in record.request  # nothing semi-synthetic here
    known = load_file(tmp_path / "out" / "model" / "model.safetensors")["known_interactions"]
    assert not {2, 3} & set(known[:, 0].tolist()) and len(known) == 60

    reports = REPORTS.get("unlearn", "recommender")
    page = reports.write(record, tmp_path / "out").read_text()
    assert "Recall" in page and page.count("<svg") >= 6  # three plots, for two widths
    compared = reports.compare({"a": record, "b": record}, tmp_path / "both")
    assert "users:2,3" in compared.read_text()
    assert "| Oracle |" in (tmp_path / "both" / "compare.md").read_text()
    json.dumps(record.request)


@pytest.mark.parametrize("saves", [4, 6])
def test_a_killed_run_goes_on_to_the_same_numbers(settings: dict[str, Any], tmp_path: Path, saves: int) -> None:
    settings["train"] |= {"max_steps": 12, "save_every": 3}
    settings["evaluate"]["attacks"] = ["choice_membership"]
    config: Any = build_config(settings)
    assert_same(killed_and_resumed(config, tmp_path / "out", saves=saves), Run(config, tmp_path / "straight")())


@pytest.mark.parametrize(
    ("planted", "tone", "verdict"),
    [
        ({"max_steps": 1, "learning_rate": 1e-6}, Tone.NEUTRAL, "Done; like an oracle, as before"),
        ({"max_steps": 60, "learning_rate": 5.0}, Tone.BAD, "The model collapsed"),
    ],
)
def test_beside_oracles_that_know_nothing_is_forgotten_and_a_wreck_is_called_so(
    settings: dict[str, Any], models: Path, tmp_path: Path, planted: dict[str, Any], tone: Tone, verdict: str
) -> None:
    settings["method"] = {"name": "grad_ascent"}
    settings["train"] |= planted | {"max_grad_norm": 1000.0}
    settings["evaluate"] = {"attacks": [], "oracle_folders": [str(models / "model")] * 3}
    config: Any = build_config(settings)
    headline = read_rankings(Run(config, tmp_path / "out")())
    assert (headline.tone, headline.verdict) == (tone, verdict)


def test_a_method_that_does_nothing_is_not_praised_for_deleting(
    settings: dict[str, Any], models: Path, tmp_path: Path
) -> None:
    settings["method"] = {"name": "grad_ascent"}
    settings["train"] |= {"max_steps": 1, "learning_rate": 1e-9}
    settings["evaluate"] = {"attacks": [], "oracle_folders": [str(models / "oracle")] * 3}
    config: Any = build_config(settings)
    record = Run(config, tmp_path / "out")()
    deleted, after = (
        record.find("recall_deleted", "original", "forget@20"), record.find("recall", "unlearned", "forget@20")
    )  # fmt: skip
    assert deleted is not None and after is not None and deleted.value == pytest.approx(after.value, abs=1e-6)
    assert read_rankings(record).tone is not Tone.GOOD


BAD: dict[str, tuple[dict[str, Any], type[GenunlearnError], str]] = {
    "an unknown user": ({"request": {"forget": "users:77"}}, DataError, "no user '77' among the 12"),
    "an unknown item": ({"request": {"forget": "items:99"}}, DataError, "no item '99' among the 24"),
    "nothing": ({"request": {"forget": ""}}, ConfigError, r"request\.forget is empty: write KIND:VALUE"),
    "nothing at all": ({"request": {"forget": None}}, ConfigError, r"request\.forget is empty: write KIND:VALUE"),
    "everything": ({"request": {"forget": "pairs:0.999"}}, DataError, "marks all 72 training interactions"),
    "no data": ({"request": {"forget": "users:2", "data": None}}, ConfigError, r"request\.data is not given"),
    "a model that is not there": ({"model": {"source": "nowhere"}}, SourceNotFound, "no such folder"),
    "a lab that is not there": ({"model": {"source": "lab:recommende"}}, NameNotFound, "lab:recommende|recommende"),
    "data of a lab": ({"model": {"source": "lab:recommender"}}, ConfigError, "brings its own"),
    "a lora": ({"parameters": {"kind": "lora"}}, ConfigError, "set it to full"),
    "half precision": ({"model": {"dtype": "float16"}}, ConfigError, "recommenders are run in float32"),
}


@pytest.mark.parametrize(("changes", "kind", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_before_weights_load(
    settings: dict[str, Any], changes: dict[str, Any], kind: type[GenunlearnError], message: str
) -> None:
    config: Any = build_config({key: {**settings.get(key, {}), **changes.get(key, {})} if key != "domain" else value
                                for key, value in {**changes, **settings}.items()})  # fmt: skip
    with pytest.raises(kind, match=message) as caught:
        Run.check(config)
    assert "\n" not in str(caught.value)


def test_features_that_do_not_fit_and_other_data_are_refused(
    settings: dict[str, Any], models: Path, tmp_path: Path
) -> None:
    import numpy as np

    data = tmp_path / "data"
    write_mmrec(data, small_catalogue())
    np.save(data / "image_feat.npy", np.zeros((5, 3)))
    config: Any = build_config({**settings, "request": {"forget": "users:2", "data": str(data)}})
    with pytest.raises(DataError, match="features of 5 items, and the interactions have 24"):
        Run.check(config)
    (data / "image_feat.npy").unlink()
    text = (data / "small.inter").read_text().replace("\n0\t", "\n12\t")
    (data / "small.inter").write_text(text)
    config = build_config({**settings, "request": {"forget": "users:2", "data": str(data)}})
    with pytest.raises(MismatchError, match="has 12 users and 24 items, and the data 13 and 24"):
        Run(config, tmp_path / "out")()
