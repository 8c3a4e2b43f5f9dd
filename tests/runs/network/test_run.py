"""Runs on classifiers and regressors: what they leave, how they resume, when they say that a model has collapsed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from genunlearn.config import build_config
from genunlearn.contracts import EditReport
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.engine.checkpoints import Checkpoints
from genunlearn.errors import ConfigError, DataError, MismatchError, NameNotFound, NeedNotMet, NonFiniteLoss
from genunlearn.records import RunRecord, read_record
from genunlearn.registry import METHODS
from genunlearn.reports.network.report import ITEMS
from genunlearn.runs.certificate.check import Sources, check
from genunlearn.runs.certificate.issue import issue, write_certificate
from genunlearn.runs.network.guard import Finding, Guard
from genunlearn.runs.network.measure import RATES
from genunlearn.runs.run import Run as UnlearnRun
from tests.small_classifiers import TRAIN, blots, write_data, write_model

Run = Callable[..., RunRecord]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a classifier, two that never saw class 1, and their data."""
    root = tmp_path_factory.mktemp("blots")
    write_model(root / "model")
    for seed in (1, 2):
        write_model(root / f"oracle-{seed}", without=1, seed=seed)
    write_data(root / "data")
    return root


@pytest.fixture
def settings(models: Path) -> dict[str, Any]:
    return {
        "domain": "classifier",
        "model": {"source": str(models / "model")},
        "request": {"forget": "class:1", "data": str(models / "data")},
        "method": {"name": "neg_grad_plus", "beta": 0.8},
        "train": {"learning_rate": 0.01, "batch_size": 24, "max_steps": 12, "save_every": 4},
        "evaluate": {
            "attacks": ["mia_matched", {"name": "relearning", "steps": 2}],
            "oracle_folders": [str(models / "oracle-1"), str(models / "oracle-2")],
        },
    }


@pytest.fixture
def run(settings: dict[str, Any], tmp_path: Path) -> Run:
    """Carry out a run in ``tmp_path/NAME``; arguments replace whole sections."""

    def run(name: str = "out", resume: bool = False, **sections: Any) -> RunRecord:
        config: Any = build_config(settings | sections)
        return UnlearnRun(config, tmp_path / name, resume=resume)()

    return run


def read(settings: dict[str, Any], **sections: Any) -> str:
    config: Any = build_config(settings | sections)
    return UnlearnRun.check(config)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_a_run_measures_three_kinds_of_model_and_leaves_weights(run: Run, tmp_path: Path) -> None:
    record = run()
    assert (record.status, record.outcome) == ("completed", "trained")
    assert {"config", "base", "request", "model"} <= record.hashes.keys()
    accuracy = {t: record.find("accuracy", t, "forget").value for t in ("original", "unlearned", "oracle")}
    assert accuracy["original"] == 1.0
    assert accuracy["oracle"] == 0.0
    assert accuracy["unlearned"] < 0.5
    assert {r.group for r in record.results if r.name == "accuracy"} == {"forget", "retain", "test", "test_forget"}
    assert record.find("accuracy", "unlearned", "forget").n == TRAIN // 3
    assert record.find("mia_matched", "oracle", "matched").value is not None
    steps = [r.group for r in record.results if (r.name, r.target) == ("relearning_accuracy", "unlearned")]
    assert steps == ["step 0", "step 1", "step 2"]
    assert record.request["attacks"]["relearning"].startswith("all forget items; 2 updates")
    assert (record.cost["steps"], record.request["forget_items"]) == (12, TRAIN // 3)
    assert "speed_up_over_retraining" not in record.cost  # nobody knows how long those oracles took

    pictures, labels = blots(TRAIN, 0)
    saved = Classifier.load(str(tmp_path / "out" / "model"), device="cpu")
    forget = [item for item in as_items((pictures, labels)) if int(item.target) == 1]
    hits = (saved.predict(forget).argmax(1) == 1).double().mean()
    assert float(hits) == pytest.approx(accuracy["unlearned"])


def test_a_certificate_is_measured_again_with_its_attacks(run: Run, settings: dict[str, Any], tmp_path: Path) -> None:
    """Its tests are of metrics and of attacks, and the same weights give both the same numbers."""
    run()
    out = write_certificate(issue(tmp_path / "out"), tmp_path / "certificate")
    places = (f"request.data={settings['request']['data']}", "evaluate.oracle_folders=[]")
    sources = Sources(run=tmp_path / "out", model=settings["model"]["source"], overrides=places)
    found = {one.text.partition(":")[0]: one.holds for one in check(out, sources, is_rerun=True)}
    assert found["Matched membership, AUC"] is True and False not in found.values()


def test_each_result_stands_once(run: Run) -> None:
    keys = [(result.name, result.target, result.group) for result in run().results]
    assert len(keys) == len(set(keys))


def test_the_membership_curve_is_kept(run: Run, tmp_path: Path) -> None:
    run()
    curve = json.loads((tmp_path / "out" / "curves.json").read_text())["membership_roc"]
    assert set(curve["true_positive_rates"]) == {"original", "unlearned", "oracle"}
    assert curve["false_positive_rates"] == pytest.approx(RATES.tolist())
    for rates in curve["true_positive_rates"].values():
        assert len(rates) == len(RATES)
        assert rates == sorted(rates)
        assert rates[-1] == 1.0
    assert (curve["members"], curve["others"]) == (TRAIN // 3, 10)


def test_inversion_leaves_a_picture_of_each_class(run: Run, settings: dict[str, Any], tmp_path: Path) -> None:
    from PIL import Image

    attack = {"name": "inversion_likeness", "pictures": 2, "steps": 3}
    record = run(evaluate=settings["evaluate"] | {"attacks": [attack]})
    (row,) = record.examples
    assert row["prompt"] == "class 1"
    mean = np.asarray(Image.open(tmp_path / "out" / row["mean"]))
    assert mean[:4, 4:].mean() > mean[4:, :4].mean() + 50  # the bright corner of class 1
    for name in ("original", "unlearned", "oracle"):
        assert Image.open(tmp_path / "out" / row[name]).size == (8, 8)
    page = ITEMS.write(record, tmp_path / "out").read_text()
    assert page.count("data:image/png") == 4


def test_without_an_oracle_the_record_says_so(run: Run) -> None:
    record = run(evaluate={"attacks": []})
    assert any(note.startswith("no oracle row: none is given for this model") for note in record.notes)
    assert record.find("tow", "unlearned").skipped == "needs an oracle to compare with"


def test_labs_know_how_long_retraining_takes(tmp_path: Path) -> None:
    settings = {
        "domain": "regression",
        "model": {"source": "lab:diabetes"},
        "request": {"forget": "range:..75"},
        "method": {"name": "blindspot"},
        "train": {"learning_rate": 1e-3, "batch_size": 64, "max_steps": 20},
        "evaluate": {"attacks": ["mia_matched"]},
    }
    config: Any = build_config(settings)
    record = UnlearnRun(config, tmp_path / "out")()
    assert record.cost["speed_up_over_retraining"] == pytest.approx(
        record.cost["retraining_cpu_seconds"] / record.cost["unlearning_cpu_seconds"], rel=0.05
    )
    gap = record.find("oracle_gap", "unlearned", "forget")
    assert gap.low < gap.value < gap.high
    assert record.find("mean_absolute_error", "oracle", "forget").value > 50
    assert record.find("wasserstein", "unlearned", "forget").value > 0


def test_the_stop_level_ends_the_training(run: Run) -> None:
    train = {"learning_rate": 0.01, "batch_size": 24, "max_steps": 60, "check_every": 1, "stop_recall": 0.5}
    record = run(train=train, evaluate={"attacks": []})
    assert record.outcome == "forgotten"
    assert record.cost["steps"] < 60
    assert record.find("accuracy", "unlearned", "forget").value <= 0.5


# ---- resuming ---------------------------------------------------------------------------------------------------

METHODS_THAT_TRAIN = {
    "neg_grad_plus": {"name": "neg_grad_plus"},
    "retrain": {"name": "retrain"},  # moves BatchNorm's running statistics
    "unsir": {"name": "unsir", "noise_count": 4, "noise_steps": 2, "impair_steps": 6, "repair_steps": 6},
}


@pytest.mark.parametrize("method", METHODS_THAT_TRAIN.values(), ids=METHODS_THAT_TRAIN)
def test_an_interrupted_run_goes_on_to_the_same_weights(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any]
) -> None:
    evaluate = {"attacks": []}
    straight = run("straight", method=method, evaluate=evaluate)
    save, calls = Checkpoints.save, []

    def interrupted(self: Checkpoints, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options)
        calls.append(None)
        if len(calls) == 1:  # in the middle of a phase
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", interrupted)
        run(method=method, evaluate=evaluate)
    assert read_record(tmp_path / "out").status == "interrupted"
    resumed = run(method=method, evaluate=evaluate, resume=True)
    for name, tensor in weights(tmp_path / "straight").items():
        assert torch.equal(weights(tmp_path / "out")[name], tensor), name
    assert resumed.results == straight.results
    assert resumed.hashes == straight.hashes
    assert any(note.startswith("resumed: the time of unlearning is not whole") for note in resumed.notes)


# ---- collapse ---------------------------------------------------------------------------------------------------


def inspect(before: Regressor, after: Regressor, items: list[Item], tolerance: float) -> Finding:
    return Guard(before, items, tolerance=tolerance).inspect(after, before.network.state_dict())


def test_the_safe_share_by_hand() -> None:
    # f(x) = w x with w = 1 before and 3 after, targets x = -1, 1: at share s the error is 2 s everywhere and the spread
    # is sqrt(4/3) = 1.1547, so the level is 1 - 1.732 s. At most 0.1 may be lost: s <= 0.0577, of the grid 0.05.
    before, after = (Regressor(nn.Linear(1, 1, bias=False)) for _ in range(2))
    before.module.weight.data.fill_(1.0)
    after.module.weight.data.fill_(3.0)
    x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    found = inspect(before, after, as_items((x, x[:, 0])), tolerance=0.1)
    assert found.is_collapsed
    assert (found.before, found.after) == pytest.approx((1.0, 1 - 2 / 1.1547), abs=1e-4)
    assert found.safe_share == 0.05
    assert str(found).endswith("5% of the change of weights would have been safe")
    assert after.module.weight.item() == 3.0
    harmless = inspect(before, before, as_items((x, x[:, 0])), tolerance=0.1)
    assert (harmless.is_collapsed, harmless.safe_share) == (False, None)


def test_weights_that_are_no_numbers_have_collapsed() -> None:
    before, after = (Regressor(nn.Linear(1, 1, bias=False)) for _ in range(2))
    after.module.weight.data.fill_(float("nan"))
    found = inspect(before, after, as_items((torch.ones(2, 1), torch.tensor([0.0, 1.0]))), tolerance=0.1)
    assert found.is_collapsed
    assert str(found).endswith("not even a twentieth of the change would have been safe")


def test_a_method_that_ruins_the_model_is_found_out(run: Run) -> None:
    train = {"learning_rate": 0.1, "batch_size": 24, "max_steps": 20}
    record = run(method={"name": "grad_ascent"}, train=train, evaluate={"attacks": []})
    assert (record.status, record.outcome) == ("completed", "collapsed")
    (note,) = [note for note in record.notes if note.startswith("collapsed: ")]
    assert "retain level 1.000 before" in note
    assert note.endswith("would have been safe")


def test_an_edit_names_the_strength_that_would_have_been_safe(run: Run) -> None:
    ssd = {"name": "ssd", "alpha": 0.05, "strength": 0.001, "batch_size": 8, "max_retain_rise": 0.1}
    ssd["soften"] = False
    record = run(method=ssd, evaluate={"attacks": []})
    assert record.outcome == "collapsed"
    (note,) = [note for note in record.notes if "max_retain_rise" in note]
    alpha = float(note.partition("method.alpha = ")[2].partition(" ")[0])
    safer = run("safer", method=ssd | {"alpha": alpha}, evaluate={"attacks": []})
    assert safer.outcome == "edited"


def test_an_edit_that_softens_itself_says_so(run: Run) -> None:
    ssd = {"name": "ssd", "alpha": 0.05, "strength": 0.001, "batch_size": 8, "max_retain_rise": 0.1, "soften": True}
    record = run(method=ssd, evaluate={"attacks": []})
    assert record.outcome == "edited"
    (note,) = [note for note in record.notes if "max_retain_rise" in note]
    assert "so it was softened to method.alpha = " in note


def test_answers_that_are_no_numbers_end_the_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, model: Any, splits: Any) -> EditReport:
        next(model.module.parameters()).data.fill_(float("nan"))
        return EditReport(changed=("all",))

    monkeypatch.setattr(METHODS.get("ssd"), "apply", broken)
    with pytest.raises(NonFiniteLoss, match="'ssd' has left weights that are not finite numbers"):
        run(method={"name": "ssd"}, evaluate={"attacks": []})


# ---- requests ---------------------------------------------------------------------------------------------------


def test_check_says_what_a_run_would_do(settings: dict[str, Any], models: Path) -> None:
    assert read(settings) == f"neg_grad_plus on {models / 'model'}, class:1: {TRAIN // 3} of {TRAIN} items to forget"
    hardest = settings["request"] | {"forget": "confidence:5"}
    assert read(settings, request=hardest).endswith("confidence:5: the hardest of 72 items to forget")


def test_the_hardest_are_ranked_by_the_original(run: Run, settings: dict[str, Any]) -> None:
    record = run(request=settings["request"] | {"forget": "confidence:5"}, evaluate={"attacks": []})
    assert record.request["forget_items"] == 5
    assert record.find("accuracy", "unlearned", "test_forget") is None  # unseen items have no such kind
    assert record.find("accuracy", "unlearned", "test").n == 30


def test_a_forget_set_of_ones_own(run: Run, settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("0\n3\n6\n")
    record = run(request=settings["request"] | {"forget": f"index:{tmp_path / 'rows.txt'}"}, evaluate={"attacks": []})
    assert record.find("accuracy", "original", "forget").n == 3


def split_data(folder: Path, *, retain: bool = True, overlap: bool = False) -> Path:
    pictures, labels = blots(TRAIN, 0)
    parts = {"forget": labels == 1, "retain": labels != 1 if not overlap else labels >= 1}
    folder.mkdir()
    for name, rows in parts.items():
        if name == "forget" or retain:
            np.savez(folder / f"{name}.npz", x=pictures[rows], y=labels[rows])
    return folder


def test_splits_of_ones_own(run: Run, tmp_path: Path) -> None:
    record = run(request={"data": str(split_data(tmp_path / "data"))}, evaluate={"attacks": []})
    assert record.request["forget"] == "the split forget"
    assert record.find("accuracy", "unlearned", "retain").n == 2 * TRAIN // 3


@pytest.mark.parametrize(
    ("sections", "error", "complaint"),
    [
        ({"request": {"forget": "class:7"}}, DataError, "class 7 does not occur; there are 0, 1, 2"),
        ({"request": {"forget": "class:0,1,2"}}, DataError, "class:0,1,2 marks all 72 items"),
        ({"request": {"forget": "random:0.001"}}, DataError, "amount = 0.001 of 72 items"),
        ({"request": {"forget": "confidence:100"}}, DataError, "amount = 100 of 72 items"),
        ({"request": {"forget": "clas:1"}}, DataError, "write it as KIND:VALUE"),
        ({"request": {"forget": "subclass:1"}}, DataError, "a data set without sub-classes"),
        ({"request": {}}, ConfigError, "request.forget is empty: write KIND:VALUE"),
        ({"request": {"forget": "class:1", "data": None}}, ConfigError, "request.data is not given"),
        ({"request": {"forget": "class:1", "retain": "none"}}, NeedNotMet, "'neg_grad_plus' needs retain data"),
        ({"method": {"name": "blindspot"}}, NeedNotMet, "'blindspot' does not fit domain 'classifier'"),
        ({"method": {"name": "unsir"}, "request": {"forget": "random:0.1"}}, NeedNotMet, "forgets whole classes"),
        ({"domain": "regression", "method": {"name": "fine_tune"}}, MismatchError, "a model for domain 'classifier'"),
        ({"evaluate": {"attacks": ["mia_mached"]}}, NameNotFound, "did you mean 'mia_matched'"),
        ({"evaluate": {"attacks": [{"name": "relearning", "step": 2}]}}, ConfigError, "'relearning' has no 'step'"),
        ({"evaluate": {"attacks": [{"name": "relearning", "steps": 0}]}}, ConfigError, "relearning.steps = 0"),
        ({"model": {"source": "lab:digit"}}, NameNotFound, "did you mean 'digits'"),
        ({"model": {"source": "lab:tumours"}, "request": {"forget": "class:1"}}, MismatchError, "domain 'regression'"),
        ({"parameters": {"kind": "lora"}, "method": {"name": "ssd"}}, NeedNotMet, "parameters.kind = 'full'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_weights_load(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, sections: Any, error: Any, complaint: str
) -> None:
    monkeypatch.setattr(
        "genunlearn.runs.network.family.open_network", lambda *arguments: pytest.fail("weights were loaded")
    )
    if "request" in sections and "model" not in sections:
        sections = sections | {"request": {"data": settings["request"]["data"]} | sections["request"]}
    with pytest.raises(error, match=complaint.replace("(", r"\(")):
        read(settings, **sections)


def test_an_attack_for_another_domain_is_refused(settings: dict[str, Any]) -> None:
    lab = {"domain": "regression", "model": {"source": "lab:diabetes"}, "request": {"forget": "range:..75"}}
    with pytest.raises(MismatchError, match="'rmia' does not fit domain 'regression'"):
        read(settings, **lab, evaluate={"attacks": ["rmia"]})


def test_forget_and_retain_that_overlap(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="24 examples are in both forget and retain"):
        read(settings, request={"data": str(split_data(tmp_path / "data", overlap=True))})


def test_splits_without_retain(settings: dict[str, Any], tmp_path: Path) -> None:
    data = {"data": str(split_data(tmp_path / "data", retain=False))}
    with pytest.raises(NeedNotMet, match="needs retain data"):
        read(settings, request=data)
    assert read(settings, request=data, method={"name": "grad_ascent"}).endswith("24 of 24 items to forget")


def test_labels_that_the_model_has_no_output_for(run: Run, models: Path, tmp_path: Path) -> None:
    data = shutil.copytree(models / "data", tmp_path / "data")
    pictures, labels = blots(TRAIN, 0)
    np.savez(data / "train.npz", x=pictures, y=np.where(labels == 2, 5, labels))
    with pytest.raises(DataError, match="label 5 of item 'train-2': the network has 3 outputs, so labels are 0 to 2"):
        run(request={"forget": "class:1", "data": str(data)})
    assert not (tmp_path / "out").exists()


def test_one_example_a_batch_cannot_teach_batchnorm(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a batch of 1 example in a network whose BatchNorm learns"):
        run(method={"name": "retrain"}, train={"batch_size": 1}, evaluate={"attacks": []})
    assert read_record(tmp_path / "out").status == "failed"  # what was measured until then stays
