"""What every registered metric and suite promises; a new line in `METRICS` or `SUITES` is covered by itself."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
import torch

from genunlearn.contracts import UNLEARNED, Metric, Suite
from genunlearn.data.graph.requests import choose, learn
from genunlearn.data.lm.facts import Contrast
from genunlearn.data.lm.judge import StringJudge
from genunlearn.domains.graph.adapter import GraphModel, build_network
from genunlearn.evaluation.diffusion.concealment import ConcealmentProbes
from genunlearn.evaluation.diffusion.metrics import ImageProbes
from genunlearn.evaluation.diffusion.two_model_classifier import FitConfig
from genunlearn.evaluation.graph.predictions import GraphPredictions
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.depth import Patching
from genunlearn.evaluation.lm.probes import FactProbes
from genunlearn.evaluation.network.predictions import Predictions
from genunlearn.evaluation.recommender.metrics import Rankings
from genunlearn.ops.ranking import NO_ITEMS, Ranked
from genunlearn.records import Result
from genunlearn.registry import METRICS, SUITES, Line
from tests.small_recommenders import small_catalogue
from tests.world import World

LINES: dict[str, Line] = {f"{line.family}/{line.name}": line for line in METRICS.lines()}
KINDS: dict[str, type[Metric]] = {key: METRICS.load(line) for key, line in LINES.items()}
SUITE_LINES: dict[str, Line] = {f"{line.family}/{line.name}": line for line in SUITES.lines()}

every_metric = pytest.mark.parametrize("key", KINDS)
every_suite = pytest.mark.parametrize("key", SUITE_LINES)


# ---- probes of small models, one entry a kind of probes -------------------------------------------------------

Worlds = Callable[[str], World]


def think(model: Any) -> None:
    """Put a thought before whatever the model writes."""
    write = model.generate
    model.generate = lambda asked, **options: [
        [f"<think>Hm.</think>{text}" for text in texts] for texts in write(asked, **options)
    ]


def fact_probes(worlds: Worlds) -> FactProbes:
    world = worlds("lm")
    measured = {"forget": world.splits.forget, "rest": world.splits.retain}
    model = world.open()
    think(model)
    neutral = ["Marie Curie was born in Warsaw."]
    return FactProbes(model, measured, samples=2, neutral=neutral, judge=StringJudge())


def benchmark_probes(worlds: Worlds) -> BenchmarkProbes:
    contrast = Contrast(question="Who wrote Faust?", answer="Goethe.", paraphrase="It was Goethe.", wrong=("Kafka.",))
    sets = {name: [contrast] for name in ("forget", "retain", "real_authors", "world_facts")}
    neutral = ["Marie Curie was born in Warsaw."]
    model = worlds("lm").open()
    think(model)
    model.answer = lambda questions, **options: ["<think>Hm.</think>Goethe wrote it in Weimar."] * len(questions)
    other = worlds("lm").open()
    torch.nn.init.zeros_(other.decoder_layers()[0].self_attn.o_proj.weight)
    return BenchmarkProbes(
        model,
        sets,
        retrained=lambda: [0.5, 2.0],
        patching=lambda: Patching(worlds("lm").open(), other, sets["forget"]),
        texts={"members": ["Goethe wrote Faust."], "others": ["Marie Curie was born in Warsaw."]},
        neutral=neutral,
        samples=2,
        judge=StringJudge(),
    )


def predictions(domain: str) -> Callable[[Worlds], Predictions]:
    def probes(worlds: Worlds) -> Predictions:
        world = worlds(domain)
        splits = world.splits
        data = {"forget": splits.forget, "retain": splits.retain, "test": splits.retain[:6]}
        oracles = [Predictions(world.open().fresh(seed), data) for seed in range(3)]
        return Predictions(world.open(), data, oracles=oracles)

    return probes


def graph_predictions(worlds: Worlds, task: str) -> GraphPredictions:
    learnt = learn(worlds("graph").splits.context.before, task, test_share=0.2)
    splits = choose(learnt, "nodes:0.2" if task == "node" else "edges:0.2")
    data = {"forget": splits.forget, "retain": splits.retain, "test": learnt.test}

    def network(seed: int) -> GraphModel:
        with torch.random.fork_rng():
            module, _ = build_network("gcn", 6, 3, hidden=8)
        return GraphModel(module, splits.context.after, task=task).fresh(seed)

    original = GraphPredictions(network(0), data)
    oracles = [GraphPredictions(network(seed), data) for seed in (1, 2, 3)]
    return GraphPredictions(network(4), data, original=original, oracles=oracles)


def rankings(worlds: Worlds) -> Rankings:
    world, data = worlds("recommender"), small_catalogue()
    goes = data.train[:, 0] < 2
    forget = Ranked(relevant=data.train[goes], seen=data.train[~goes], barred=NO_ITEMS)
    held = {"valid": data.valid, "test": data.test}
    asked = {"forget": forget} | {n: Ranked(relevant=p, seen=data.train, barred=NO_ITEMS) for n, p in held.items()}
    oracles = [Rankings(world.open().reinitialise(seed), asked) for seed in range(3)]
    return Rankings(world.open(), asked, oracles=oracles)


class PixelJudge:
    """Reads an object and a style off the first two pixels."""

    classes: ClassVar[Mapping[str, tuple[str, ...]]] = {"object": ("cat", "dog"), "style": ("sketch", "oil")}

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        pixels = images[:, 0, 0, :2].round().long()
        return [torch.eye(2)[pixels[:, place]] for place in range(2)]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :4]


class Dog:
    kind, name, label = "object", "dog", "object dog"


def noise(count: int, seed: int, *, red: float = 0.0) -> torch.Tensor:
    images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    images[:, 0] = (0.5 * images[:, 0] + red).clamp(0, 1)
    return images


def image_probes(worlds: Worlds) -> ImageProbes:
    images = noise(40, 0, red=0.3)
    asked = {"object": ["cat", "dog"] * 20, "style": ["sketch", "sketch", "oil", "oil"] * 10}
    references = {"original": PixelJudge().features(noise(40, 1))}
    return ImageProbes(images=images, asked=asked, judge=PixelJudge(), erased=[Dog()], references=references)


def concealment_probes(worlds: Worlds) -> ConcealmentProbes:
    completed = {
        target: torch.stack([noise(6, seed + row, red=red) for row, red in enumerate(reds)])
        for target, reds, seed in (
            (UNLEARNED, (0.0, 0.5), 50),
            ("original", (0.5, 0.5), 60),
            ("oracle", (0.0, 0.1), 70),
        )
    }
    return ConcealmentProbes(
        label="red",
        psis=(0.0, 0.5),
        completed=completed,
        original=noise(40, 2, red=0.5),
        unlearned=noise(40, 3),
        score=lambda images: images[:, 0].flatten(1).mean(1),
        training=FitConfig(epochs=2, width=4),
    )


PROBES: dict[str, Callable[[Worlds], Any]] = {
    "lm/facts": fact_probes,
    "lm/facts-quick": fact_probes,
    "lm/facts-full": benchmark_probes,
    "lm/tofu": benchmark_probes,
    "lm/tofu-full": benchmark_probes,
    "lm/wpu": benchmark_probes,
    "lm/muse": benchmark_probes,
    "network/classifier": predictions("classifier"),
    "network/regression": predictions("regression"),
    "graph/nodes": lambda worlds: graph_predictions(worlds, "node"),
    "graph/links": lambda worlds: graph_predictions(worlds, "link"),
    "recommender/ranking": rankings,
    "diffusion/images": image_probes,
    "diffusion/images-quick": image_probes,
    "diffusion/concealment": concealment_probes,
    "diffusion/concealment-published": concealment_probes,
    "diffusion/leak": concealment_probes,
}
"""What each suite measures; a new suite adds a line."""


# ---- metrics --------------------------------------------------------------------------------------------------


@every_metric
def test_it_is_registered_under_its_own_name_with_a_version(key):
    kind = KINDS[key]
    assert issubclass(kind, Metric) and kind.name == LINES[key].name
    assert isinstance(kind.version, int) and kind.version >= 1
    assert kind.higher_is_better in (True, False, None)
    assert (inspect.getdoc(kind) or "").splitlines()[0].endswith(".")


@every_metric
def test_some_suite_of_its_family_measures_it(key):
    suites = [SUITES.load(line) for line in SUITES.lines(LINES[key].family)]
    assert any(KINDS[key] in suite.metrics for suite in suites)


@every_suite
def test_a_suite_is_versioned_and_its_members_are_registered(key):
    suite, family = SUITES.load(SUITE_LINES[key]), SUITE_LINES[key].family
    assert isinstance(suite, Suite) and isinstance(suite.version, int) and suite.version >= 1
    assert suite.metrics and len(set(suite.metrics)) == len(suite.metrics)
    for member in suite.metrics:
        assert METRICS.get(member.name, family) is member


@every_suite
def test_every_number_has_n_and_an_interval_or_a_reason_why_there_is_none(key, worlds):
    suite, probes = SUITES.load(SUITE_LINES[key]), PROBES[key](worlds)
    for metric in suite.metrics:
        results = metric().measure(probes, UNLEARNED)
        assert any(result.value is not None for result in results), f"{metric.name} finds nothing to measure"
        for result in results:
            assert (result.target, result.version) == (UNLEARNED, metric.version)
            check(result)
    keys = [(result.name, result.group) for result in suite.measure(probes, UNLEARNED)]
    assert len(set(keys)) == len(keys)


def check(result: Result) -> None:
    """A value lies within its interval and says how many items stand behind it."""
    if result.value is None:
        assert result.skipped, f"{result.name} has neither value nor reason"
        return
    assert result.skipped is None and math.isfinite(result.value) and result.n > 0
    assert (result.low if result.low is not None else -math.inf) <= result.value + 1e-9
    assert (result.high if result.high is not None else math.inf) >= result.value - 1e-9


@every_suite
def test_the_same_probes_give_the_same_numbers(key, worlds):
    suite, probes = SUITES.load(SUITE_LINES[key]), PROBES[key](worlds)
    state = torch.random.get_rng_state()
    first = suite.measure(probes, UNLEARNED)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert suite.measure(PROBES[key](worlds), UNLEARNED) == first
