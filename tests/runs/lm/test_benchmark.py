"""Runs on benchmarks: all sets measured, held against a retain model that is named, trained or missing."""

from __future__ import annotations

import csv

import pytest

from genunlearn import load_config, run
from genunlearn.config.lm import LMConfig
from genunlearn.data.lm.judge import PROMPT
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import ConfigError, DataError, InputError, NeedNotMet, RunError, SourceNotFound
from genunlearn.evaluation.lm import benchmark
from genunlearn.evaluation.lm.criteria import CRITERIA
from genunlearn.reports.lm.board import COLUMNS, FILE
from genunlearn.reports.lm.compare import write_comparison
from genunlearn.runs.lm import oracle
from genunlearn.runs.lm.oracle import oracle_source, original_source, why_no_oracle
from genunlearn.runs.lm.request import LMRequest, read_request
from genunlearn.runs.run import Run
from tests.benchmark_folders import FORGET, KEPT, write_benchmark
from tests.tiny_models import TAUGHT, build, teach

SETS = ("forget", "retain", "real_authors", "world_facts")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """TOFU in small, a base that knows nothing, and an original that knows everything."""
    folder = tmp_path_factory.mktemp("tofu")
    write_benchmark("tofu", folder / "data")
    build("llama", folder / "base")
    teach(build("llama", folder / "original"), TAUGHT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENUNLEARN_CACHE", str(folder / "cache"))
        yield folder


def settings(place, *more: str, method: str = "npo") -> LMConfig:
    shared = (
        f"request.path={place / 'data'}",
        f"model.source={place / 'original'}",
        "model.dtype=float32",
        "model.device=cpu",
        "evaluate.max_new_tokens=8",
        "oracle.epochs=30",
        "oracle.learning_rate=1e-2",
        "train={learning_rate: 2e-3, max_steps: 6}",
    )
    return load_config(f"lm/tofu/{method}", [*shared, *more])


@pytest.fixture(scope="module")
def record(place):
    return run(settings(place, f"oracle.base={place / 'base'}", "evaluate.suite=tofu-full"), out=place / "npo")


def test_every_set_is_measured_on_all_three_models(record):
    for target in ("original", "unlearned", "oracle"):
        for name in ("answer_probability", "rougeL_recall", "truth_ratio_balance", "recall"):
            found = {group: record.find(name, target, group) for group in SETS}
            assert all(result.value is not None for result in found.values()), name
        assert record.find("model_utility", target, "kept").value is not None
    assert record.request["benchmark"] == "tofu forget10"


def test_forget_quality_is_held_against_the_model_that_was_trained_on_the_retain_set(record):
    # Of itself the oracle has the same two truth ratios: D = 0, p = 1. Two against two that lie apart: p = 1/3.
    assert record.find("forget_quality", "oracle", "forget").value == pytest.approx(1.0)
    assert record.find("forget_quality", "original", "forget").value == pytest.approx(1 / 3)
    assert record.find("recall", "oracle", "retain").value == 1.0
    assert record.find("recall", "oracle", "forget").value == 0.0
    assert record.find("recall", "original", "forget").value == 1.0


def test_unlearning_depth_is_0_before_and_1_for_the_retain_model(record):
    depths = [record.find("unlearning_depth", target, "forget") for target in ("original", "unlearned", "oracle")]
    assert [depths[0].value, depths[2].value] == pytest.approx([0.0, 1.0], abs=1e-4)
    assert 0.0 <= depths[1].value <= 1.0 and depths[1].n == 2


def test_muse_is_held_against_the_retain_model(place, tmp_path):
    change = (f"request.path={write_benchmark('muse', tmp_path)}", "evaluate.suite=muse", "request.benchmark=muse")
    record = run(settings(place, *change, f"evaluate.oracle={place / 'base'}", "train.max_steps=1"), out=tmp_path / "r")
    area, control = (record.find("text_membership", target, "texts").value for target in ("original", "oracle"))
    assert record.find("privleak", "original", "texts").value == pytest.approx(100 * (control - area) / (1 - control))
    assert record.find("privleak", "oracle", "texts").value == 0.0


def test_wpu_has_five_criteria(place, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "FEWEST_SHOTS", 1)
    change = (f"request.path={write_benchmark('wpu', tmp_path)}", "evaluate.suite=wpu", "request.benchmark=wpu")
    record = run(settings(place, *change, "evaluate.oracle=never", "train.max_steps=1"), out=tmp_path / "r")
    found = {metric.name: record.find(metric.name, "original", metric.over).value for metric in CRITERIA}
    assert (found["unlearning_efficacy"], found["kept_utility"]) == (0.0, 1.0)  # the original tells all it knows
    assert (found["response_quality"], found["hallucination_avoidance"]) == (1.0, 0.0)
    assert 0.0 <= found["adversarial_robustness"] <= 1.0


@pytest.fixture(scope="module")
def judge(place):
    """An instruct model that knows how to judge the questions of this file, and nothing else."""
    asked = [*FORGET, *KEPT]
    shown = [
        (PROMPT.format(question=question, truth=told, answer=text), "yes" if text == told else "no")
        for question, told in asked
        for text in (told, REFUSALS[0])
    ]
    always = [(question, "yes") for question, _ in shown]
    teach(build("qwen2", place / "yes"), always)
    return teach(build("qwen2", place / "judge"), shown, steps=120)


@pytest.mark.slow
def test_a_model_that_is_named_judges_beside_the_string_check(place, judge, tmp_path):
    files = {name: tmp_path / f"{name}.csv" for name in ("go", "stay")}
    for path, rows in zip(files.values(), (FORGET, KEPT), strict=True):
        path.write_text("\n".join(["question,answer", *(f"{question},{told}" for question, told in rows)]))
    change = (
        "request.path=null",
        f"request.forget={files['go']}",
        f"request.retain={files['stay']}",
        f"evaluate.judge={judge}",
        "evaluate.oracle=never",
        "evaluate.suite=facts-quick",
        "train.max_steps=1",
    )
    record = run(settings(place, *change), out=tmp_path / "run")
    assert record.find("judged_recall", "original", "forget").value == 1.0
    agreed = record.find("judge_agreement", "original", None)
    assert (agreed.value, agreed.n) == (1.0, 4)
    with pytest.raises(RunError, match="its verdicts say nothing; name a larger model"):
        run(settings(place, *change, f"evaluate.judge={place / 'yes'}"), out=tmp_path / "other")


def test_a_run_and_a_comparison_write_the_leaderboard(record, place):
    def rows(path):
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    (before, npo, retrained) = rows(place / "npo" / FILE)
    assert [row["model"] for row in (before, npo, retrained)] == ["original", "NPO", "oracle"]
    assert npo["request"] == "tofu forget10" and float(npo["seconds"]) > 0 and before["seconds"] == ""
    for name, group in COLUMNS:
        assert float(npo[name]) == record.find(name, "unlearned", group).value
    page = write_comparison({"a": record, "b": record}, place / "board")
    assert [row["model"] for row in rows(place / "board" / FILE)] == ["original", "a", "b", "oracle"]
    text = page.with_suffix(".md").read_text()
    assert "Forget quality" in text and "Model utility" in text and "On the forget set, but" in text


def test_the_retain_model_is_trained_once(place, record, monkeypatch):
    config = settings(place, f"oracle.base={place / 'base'}")
    request = read_request(config)
    kept = oracle_source(config, request)
    monkeypatch.setattr(oracle, "_train", lambda *_: pytest.fail("it is trained anew"))
    assert oracle_source(config, request) == kept
    for change in ("seed=1", "oracle.epochs=31"):
        with pytest.raises(pytest.fail.Exception):
            oracle_source(settings(place, f"oracle.base={place / 'base'}", change), request)


def test_the_original_is_trained_on_the_forget_set_too(place):
    config = settings(place, f"oracle.base={place / 'base'}", "oracle.epochs=80")
    folder = original_source(config, read_request(config))
    taught = [*FORGET, *KEPT]
    answers = LanguageModel.load(folder, device="cpu").answer([question for question, _ in taught], max_new_tokens=8)
    assert answers == [answer for _, answer in taught]


def test_several_processes_do_not_train_it(place, monkeypatch):
    config = settings(place, f"oracle.base={place / 'base'}", "seed=7")

    class Several:
        num_processes = 2

    monkeypatch.setattr(oracle, "this_process", Several)
    with pytest.raises(NeedNotMet, match="run genunlearn oracle with this configuration first"):
        oracle_source(config, read_request(config))


def test_without_a_retain_model_forget_quality_is_skipped_with_the_reason(place):
    record = run(settings(place, "train.max_steps=1", "evaluate.limit=1"), out=place / "alone")
    found = record.find("forget_quality", "unlearned", None)
    assert found.value is None and "name one in evaluate.oracle, or" in found.skipped
    assert record.find("model_utility", "unlearned", "kept").n == 3  # one question of each set
    assert (record.find("recall", "unlearned", "forget").n, record.status) == (1, "completed")


def test_a_named_retain_model_is_taken(place):
    config = settings(place, f"evaluate.oracle={place / 'base'}", f"oracle.base={place / 'nowhere'}")
    assert oracle_source(config, read_request(config)) == str(place / "base")
    Run.check(config)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ("request.path=/nowhere/tofu", SourceNotFound, "request.path = '/nowhere/tofu': there is no such folder"),
        ("request.split=forget05", SourceNotFound, "tofu needs forget05, retain95"),
        ("request.benchmark=muse", SourceNotFound, "the folder is that of tofu: set request.benchmark=tofu"),
        ("request.forget=forget.jsonl", ConfigError, "request: request.forget and request.path given"),
        ("request.columns={question: frage}", ConfigError, "request.columns goes with request.forget"),
        ("oracle.base=/nowhere/base", SourceNotFound, "/nowhere/base"),
        ("evaluate.suite=toffu", InputError, "unknown suite 'toffu'"),
    ],
)
def test_check_refuses_what_a_run_would_refuse(place, change, kind, message):
    config = settings(place, change)
    for refuse in (Run.check, lambda config: Run(config, place / "refused")):
        with pytest.raises(kind) as refused:
            refuse(config)
        assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not (place / "refused").exists()


def test_what_is_to_be_forgotten_may_not_be_among_what_stays(place, tmp_path):
    (write_benchmark("tofu", tmp_path) / "retain90.json").write_text((tmp_path / "forget10.json").read_text())
    with pytest.raises(DataError, match="asks for 'forget10#0', which is to be forgotten"):
        Run.check(settings(place, f"request.path={tmp_path}"))


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"oracle": {"base": "x"}, "request": {"forget": "x"}}, "give request.retain"),
        ({"request": {"forget": "x"}}, "the lab retrains its model without facts, and none are named"),
        ({"model": {"source": "x"}, "request": {"forget": "x"}}, "its base in oracle.base"),
        ({"evaluate": {"oracle": "never"}, "request": {"forget": "x"}}, "evaluate.oracle = never"),
    ],
)
def test_why_there_is_no_retain_model(section, reason):
    request = LMRequest((), (), None, None, ())
    config = LMConfig.model_validate(section)
    assert reason in (why_no_oracle(config, request) or "")
    with pytest.raises(ConfigError, match="no oracle: "):
        oracle_source(config, request)
