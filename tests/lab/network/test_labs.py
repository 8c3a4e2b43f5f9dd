"""The labs of small networks: what they teach, what oracles do not know, and that a second look costs nothing."""

from pathlib import Path

import pytest
import torch

from genunlearn.contracts import Splits
from genunlearn.errors import DataError, QualityError
from genunlearn.lab.cache import CACHE_VARIABLE, read_card
from genunlearn.lab.network import digits, regression, text
from genunlearn.lab.network.study import Lab, Study, score


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def accuracies(lab: Lab) -> tuple[float, float, list[float]]:
    return (
        score(lab.original, lab.splits.retain),
        score(lab.original, lab.splits.forget),
        [score(oracle, lab.splits.forget) for oracle in lab.oracles],
    )


@pytest.mark.slow
@pytest.mark.parametrize("request_", ["class:3", "subclass:4"])
def test_oracles_of_digits_do_not_know_the_class(request_: str) -> None:
    lab = digits.load(request_)
    retain, forget, oracles = accuracies(lab)
    assert retain > 0.99 and forget > 0.99
    assert len(oracles) == 3 and max(oracles) < 0.2
    assert all(score(oracle, lab.splits.retain) > 0.99 for oracle in lab.oracles)
    assert score(lab.original, lab.test) > 0.97
    kind = "target" if request_ == "class:3" else "subclass"
    assert {int(getattr(item, kind)) for item in lab.splits.holdout} == {int(request_[-1])}


def test_the_coarse_labels_are_pairs_of_digits() -> None:
    data = digits.COARSE.data
    assert all(int(item.target) == item.subclass // 2 for item in (*data.train, *data.test))
    assert (len(data.train), len(data.test)) == (1437, 360)


@pytest.mark.slow
def test_a_second_look_reads_the_cache_and_gives_the_same_network() -> None:
    first, again = digits.DIGITS.original(), digits.DIGITS.original()
    assert first is not again
    items = digits.DIGITS.data.test
    assert torch.equal(first.predict(items), again.predict(items))
    assert digits.DIGITS.card()["measured"]["test"] == pytest.approx(score(first, items))
    assert digits.DIGITS.card()["seconds"] < 60


@pytest.mark.slow
def test_the_hardest_digits_are_chosen_by_the_original() -> None:
    sure, shaping = digits.DIGITS.mark("confidence:50"), digits.DIGITS.mark("influence:50")
    assert sure.sum() == shaping.sum() == 50
    assert not (sure & shaping).any()


@pytest.mark.parametrize("name", ["diabetes", "tumours"])
def test_oracles_of_regression_err_on_the_range(name: str) -> None:
    lab = regression.load(name)

    def loss(domain: object, items: list) -> float:
        return float(domain.loss_of(domain.predict(items), torch.stack([i.target for i in items])).mean())

    before = loss(lab.original, lab.splits.forget)
    assert all(loss(oracle, lab.splits.forget) > 1.5 * before for oracle in lab.oracles)
    assert len(lab.splits.holdout) > 10
    is_low = name == "diabetes"
    assert all((item.target <= 75) if is_low else (item.target >= 22) for item in lab.splits.forget)
    assert all((item.target > 75) if is_low else (item.target < 22) for item in lab.splits.retain)


@pytest.mark.slow
def test_the_text_lab_opens_as_a_model_of_the_hub() -> None:
    from genunlearn.domains.network.classifier import Classifier

    lab = text.load("class:1")
    retain, forget, oracles = accuracies(lab)
    assert retain > 0.9 and forget > 0.9
    assert max(oracles) == 0.0
    loaded = Classifier.load(str(text.TEXT.folder()), device="cpu")
    torch.testing.assert_close(loaded.predict(lab.test), lab.original.predict(lab.test))
    encoded = loaded.encode("compound statements contain groups of other statements")
    assert encoded["input_ids"].shape == (9,)


def test_a_network_that_misses_its_level_is_not_kept() -> None:
    study = regression.STUDIES["diabetes"]
    strict = Study(name="strict", read=study.read, adapter=study.adapter, settings=study.settings, level=0.99)
    with pytest.raises(QualityError, match=r"lab:strict, seed = 0, misses its level: test = 0\.\d+ \(at least 0\.99\)"):
        strict.original()
    from genunlearn.lab.cache import cache_root

    assert not list(Path(cache_root() / "lab").glob("strict-*"))


def test_requests_that_a_lab_cannot_meet() -> None:
    with pytest.raises(DataError, match="class 11 does not occur"):
        digits.load("class:11")
    with pytest.raises(DataError, match="there are diabetes, tumours"):
        regression.load("weather")


def test_splits_of_a_lab_are_disjoint() -> None:
    splits: Splits = regression.load("diabetes").splits
    assert not {i.id for i in splits.forget} & {i.id for i in splits.retain}


def test_a_lab_is_built_by_name_with_and_without_a_request() -> None:
    folder = regression.build_diabetes()
    assert folder == regression.STUDIES["diabetes"].folder()
    oracle = regression.build_diabetes(without=["range:..75"])
    assert oracle != folder
    assert (oracle / "model.safetensors").is_file()
    assert "cpu_seconds" in read_card(oracle)
    with pytest.raises(DataError, match="2 requests: lab:diabetes takes one"):
        regression.build_diabetes(without=["range:..75", "random:0.1"])
