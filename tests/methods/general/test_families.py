"""General methods at work on families that they were not made for: the lab's language model and its pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from genunlearn import run
from genunlearn.config import ParametersConfig, TrainConfig, parse_config
from genunlearn.contracts import Method, Splits, with_sides
from genunlearn.data.diffusion.concepts import with_images
from genunlearn.data.diffusion.requests import USUAL
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.evaluation.diffusion.metrics import ImageProbes, InDomainRetainAccuracy, UnlearningAccuracy
from genunlearn.lab.diffusion.build import build
from genunlearn.lab.diffusion.image_judge import load_judge
from genunlearn.lab.diffusion.requests import erasure_request
from genunlearn.methods.general.neg_grad_plus import NegGradPlus
from genunlearn.methods.general.random_labels import RandomLabels
from genunlearn.records import RunRecord
from genunlearn.runs.unlearning import carry_out

pytestmark = pytest.mark.slow

FACT_RUN = """
model: {{source: "lab:lm"}}
request: {{facts: ["Harry Potter | studied at | Hogwarts"]}}
method: {{{method}}}
parameters: {{kind: {kind}, rank: 16, alpha: 32}}
train: {{learning_rate: {rate}, batch_size: 16, max_steps: 60, stop_recall: 0.0, check_every: 2}}
evaluate: {{suite: facts-quick, samples: 0, oracle: never}}
"""


def forget_fact(folder: Path, method: str, kind: str = "lora", rate: str = "1e-3") -> RunRecord:
    return run(parse_config(FACT_RUN.format(method=method, kind=kind, rate=rate)), out=folder / "out")


def recall(record: RunRecord, target: str, group: str) -> float:
    found = record.find("recall", target, group)
    assert found is not None and found.value is not None
    return found.value


@pytest.mark.parametrize(
    ("method", "kind", "rate"),
    [
        ("name: neg_grad_plus, beta: 0.7", "lora", "1e-3"),
        ("name: random_labels", "lora", "1e-3"),
        ("name: delete", "lora", "1e-3"),
        ("name: salun_labels", "full", "1e-4"),
    ],
)
def test_a_fact_goes_and_the_rest_stays(tmp_path: Path, method: str, kind: str, rate: str) -> None:
    record = forget_fact(tmp_path, method, kind, rate)
    assert recall(record, "original", "forget_heldout") >= 0.8
    assert recall(record, "unlearned", "forget_heldout") <= 0.25
    assert recall(record, "unlearned", "rest") >= 0.95


SEVEN = erasure_request(["digit seven"], ["auto"], 16)
QUICK = Sampling(steps=10, guidance=3.0)


@pytest.fixture(scope="module")
def pipeline() -> tuple[Path, Splits]:
    """The lab's folder, and images of seven and of all other digits to train on."""
    folder = build(progress=False)
    model = Diffusion.load(str(folder), device="cpu")
    made = with_images(SEVEN.splits, 32, seed=0, steps=10, guidance=3.0)
    return folder, with_sides(made, model.render(made.forget), model.render(made.retain or ()))


def shares(model: Diffusion, folder: Path) -> tuple[float, float]:
    """Share of the images asked for a seven that show none, and of the others that show what they are asked for."""
    ask = SEVEN.sets[USUAL]
    images = model.images(ask.prompts, ask.seeds, QUICK)
    probes = ImageProbes(images=images, asked=ask.asked, judge=load_judge(folder), erased=SEVEN.erased)
    return (
        UnlearningAccuracy().measure(probes, "model")[0].value or 0.0,
        InDomainRetainAccuracy().measure(probes, "model")[0].value or 0.0,
    )


def after(method: Method, folder: Path, splits: Splits, *, rate: float, steps: int) -> tuple[float, float]:
    """What `shares` says once the method has been carried out on all weights of the pipeline's denoiser."""
    model = Diffusion.load(str(folder), device="cpu")
    settings = TrainConfig(learning_rate=rate, batch_size=16, max_steps=steps, save_every=10**6)
    trainer = Trainer(model, settings, ParametersConfig(kind="full"), seed=0)
    carry_out(method, trainer, splits, FileJournal(None), seed=0)
    return shares(model, folder)


def test_a_digit_is_not_drawn_any_more_and_the_others_are(pipeline: tuple[Path, Splits]) -> None:
    folder, splits = pipeline
    before = shares(Diffusion.load(str(folder), device="cpu"), folder)
    assert before[0] == 0.0 and before[1] > 0.95
    relabelled = after(RandomLabels(always_wrong=True), folder, splits, rate=5e-4, steps=60)
    assert relabelled[0] > 0.6 and relabelled[1] > 0.9
    reversed_ = after(NegGradPlus(beta=0.7), folder, splits, rate=3e-4, steps=40)
    assert reversed_[0] > 0.9 and reversed_[1] > 0.8
