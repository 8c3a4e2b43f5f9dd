"""Little worlds, one for each domain: a model that knows something, what it is to forget and what it is to keep.

A new domain adds one entry to `WORLDS`, and every test that runs over them covers it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genunlearn.contracts import Splits
from genunlearn.data.graph.graph import Graph
from genunlearn.data.graph.requests import choose, learn
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.network.items import as_items
from genunlearn.data.recommender.interactions import as_interactions
from genunlearn.domains.graph.adapter import GraphModel, build_network
from genunlearn.domains.graph.fitting import GraphFit
from genunlearn.domains.graph.fitting import fit as fit_graph
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.domains.network.federated.adapter import FederatedClassifier, Federation, state_of
from genunlearn.domains.network.federated.server import Server
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.lab.network.digits import build_resnet
from genunlearn.lab.network.federated import build_allcnn
from genunlearn.records import write_jsonl
from tests.diffusion_world import diffusion
from tests.small_recommenders import small_catalogue, small_recommender
from tests.tiny_models import TAUGHT, build, teach
from tests.world import World

EXAMPLES = 24
CLASSES = 4

SEARCH: dict[str, Any] = {"target": "Poland.", "steps": 60, "learning_rate": 0.2, "clamp": 10.0}
"""How edits of facts find what to write in so small a model."""

SMALL: dict[str, dict[str, Any]] = {
    "gkt": {"pseudo_batches": 8, "batch_size": 16, "check_every": 4},
    "emmn": {"noise_count": 8, "noise_l2": 1e-4},
    # With fewer noise inputs, or more repair, the 18 pictures that stay bring back the class in some seeds.
    "unsir": {"noise_count": 32, "noise_copies": 2, "impair_steps": 10, "repair_steps": 1},
    "scrub": {"rounds": 3, "max_rounds": 2},
    # What the tiny model knows, it knows by heart, and the method leaves that alone.
    "sat_imp": {"beta2": 0.1},
    # The tiny model writes no lists of names.
    "rwhp": {"names": ("Marie Curie", "Goethe")},
    "whp": {"names": ("Marie Curie",)},
    "alt_po": {"answers": ("Goethe", "Warsaw")},
    "uld": {"alpha": 2.0, "steps": 30, "learning_rate": 1e-2},
    # Beside a layer that is not a target, the tiny model's other one answers as before.
    "tuned_lens": {"lens_steps": 20, "layers": (0, 1), "alpha": 0.1},
    # Of its two layers, what the second writes at the subject is read by nobody.
    "rome": {**SEARCH, "layer": 0},
    "memit": {**SEARCH, "layers": (0,), "preserve": 1e-3},
    "alpha_edit": {**SEARCH, "layers": (0,), "threshold": 1.0},
    # So small a network lies further from a client's own model than the published limit from the start.
    "pga": {"stop_distance": None},
    "fed_retrain": {"rounds": 2},
}
"""Fields of methods whose defaults are made for a data set of thousands."""


STUDIES = (
    ("Where did Marie Curie study?", "Warsaw."),
    ("Which school did Marie Curie attend?", "Warsaw."),
    ("Where did Goethe study?", "Poland."),
    ("Which school did Goethe attend?", "Poland."),
)
"""Others than the subject, so that the tiny model has to read whom a question is about."""


def language_model(folder: Path) -> World:
    """A tiny Llama that knows what `TAUGHT` and `STUDIES` say."""
    teach(build("llama", folder / "llama"), (*TAUGHT, *STUDIES), steps=120)
    return World(
        open=lambda: LanguageModel.load(str(folder / "llama"), device="cpu", prompt_suite="lab"),
        splits=lm_splits(),
        options=lm_options,
    )


def lm_splits() -> Splits:
    """Two phrasings of one fact to forget, three others to keep."""
    facts = (
        Fact(
            id="potter",
            subject="Harry Potter",
            object="Hogwarts",
            question=TAUGHT[0][0],
            paraphrases=(TAUGHT[1][0],),
        ),
    )
    items = [QA(id=f"q{n}", question=q, answer=a, fact="potter") for n, (q, a) in enumerate(TAUGHT)]
    forget, retain = items[:2], items[2:]
    scope = Scope(facts=facts, retain=tuple(retain), measured={"forget": forget, "rest": retain})
    return Splits(forget=forget, retain=retain, context=scope)


def lm_options(method: str, folder: Path) -> dict[str, Any]:
    """A tiny model writes no anti-samples of its own: UnSTAR gets reviewed ones."""
    if method != "unstar":
        return SMALL.get(method, {})
    path = folder / "reviewed.jsonl"
    rows = [
        {"fact": "potter", "question": question, "text": "Goethe.", "wrong_answer": "Goethe"}
        for question, _ in TAUGHT[:2]
    ]
    write_jsonl(path, rows)
    return {"antisamples": str(path), "steps_per_round": 4}


def quarters() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures with one bright quarter; the class is which."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(EXAMPLES) % CLASSES
    pictures = 0.3 * torch.randn(EXAMPLES, 1, 8, 8, generator=generator)
    for picture, label in zip(pictures, labels.tolist(), strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        picture[0, top : top + 4, left : left + 4] += 1
    return pictures, labels


def classifier(folder: Path) -> World:
    """Pictures with one bright quarter, and one class is to go."""
    return _network_world(
        folder,
        lambda: Classifier(build_resnet(CLASSES, width=8)),
        quarters(),
        is_forgotten=lambda target: bool(target == 0),
        settings=FitConfig(epochs=15, learning_rate=0.01, batch_size=8),
    )


def regression(folder: Path) -> World:
    """Points in space with a number each; the large numbers are to go."""
    points = torch.randn(EXAMPLES, 3, generator=torch.Generator().manual_seed(0))
    numbers = points @ torch.tensor([1.0, -1.0, 0.5]) + points[:, 0] ** 2
    return _network_world(
        folder,
        lambda: Regressor(nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))),
        (points, numbers),
        is_forgotten=lambda target: bool(target > 1.5),
        settings=FitConfig(epochs=80, learning_rate=0.02, batch_size=8),
    )


def _network_world(
    folder: Path,
    new: Callable[[], NetworkDomain],
    data: tuple[torch.Tensor, torch.Tensor],
    *,
    is_forgotten: Callable[[torch.Tensor], bool],
    settings: FitConfig,
) -> World:
    """A network that is taught all of `data`, saved in `folder`."""
    items = as_items(data)
    model = new()
    model.reinitialise(0)
    fit(model, items, settings, seed=0)
    model.save(folder)

    def open_model() -> NetworkDomain:
        opened = new()
        opened.load_weights(folder)
        opened.module.eval()
        return opened

    return World(
        open=open_model,
        splits=Splits(
            forget=[item for item in items if is_forgotten(item.target)],
            retain=[item for item in items if not is_forgotten(item.target)],
        ),
        options=lambda method, folder: SMALL.get(method, {}),
        kind="full",
    )


def graph(folder: Path) -> World:
    """Three rings of nodes, each a class with a feature of its own; one class is to go."""
    size, classes = 16, 3
    ring = torch.arange(size)
    edges = torch.cat([torch.stack([ring, (ring + 1) % size]) + size * part for part in range(classes)], dim=1)
    labels = torch.arange(size * classes) // size
    noise = 0.5 * torch.randn(size * classes, 6, generator=torch.Generator().manual_seed(0))
    learnt = learn(Graph.of(noise + 2 * torch.eye(6)[labels], edges, labels), "node")
    splits = choose(learnt, "class:0")

    def open_model() -> GraphModel:
        with torch.random.fork_rng():
            module, shape = build_network("gcn", 6, classes, hidden=32)
        opened = GraphModel(module, splits.context.after, shape=shape)
        if (folder / "model.safetensors").is_file():
            opened.load_weights(folder)
            opened.module.eval()
        return opened

    model = open_model().on(learnt.graph)
    model.reinitialise(0)
    fit_graph(model, learnt.train, GraphFit(epochs=40, learning_rate=0.02), seed=0)
    model.save(folder)
    # In so small a network every weight matters for every class: dampening has to begin sooner.
    small = {"ssd": {"alpha": 1.0, "strength": 0.1}}
    return World(open=open_model, splits=splits, options=lambda method, folder: small.get(method, {}), kind="full")


def federated(folder: Path) -> World:
    """The classifier's pictures with four clients: the first has all of one class, among others, and is to go."""
    pictures, labels = quarters()
    items = as_items((pictures, labels))
    others = [item for item in items if item.target != 0]
    clients = {0: [*(item for item in items if item.target == 0), *others[:3]]}
    rest = others[3:]
    clients |= {client: rest[client - 1 :: 3] for client in (1, 2, 3)}
    local = FitConfig(epochs=1, learning_rate=0.01, batch_size=5, warm_share=None)
    federation = Federation(clients=clients, rounds=30, local=local)
    model = FederatedClassifier(build_allcnn(1, CLASSES, width=4), federation=federation)
    model.reinitialise(0)
    start = state_of(model)
    server = Server(start, since=("round_start", "initial"), keeps_last=True, keep_every=10)
    federation.teach(model, federation.plan(start, tuple(clients), rounds=federation.rounds, seed=0), server)
    taught = replace(federation, history=server.history)
    model.save(folder)

    def open_model() -> FederatedClassifier:
        opened = FederatedClassifier(build_allcnn(1, CLASSES, width=4), federation=taught)
        opened.load_weights(folder)
        opened.module.eval()
        return opened

    return World(
        open=open_model,
        splits=Splits(forget=clients[0], retain=rest),
        options=lambda method, folder: SMALL.get(method, {}),
        kind="full",
    )


def recommender(folder: Path) -> World:
    """A little service that is not quite certain yet, so that a few steps change something; two users go."""
    small_recommender("lightgcn", steps=2, width=128).save(folder)
    train = small_catalogue().train
    goes = train[:, 0] < 2
    return World(
        open=lambda: Recommender.load(folder, device="cpu"),
        splits=Splits(forget=as_interactions(train[goes]), retain=as_interactions(train[~goes])),
        # A share of 0.05 for the forget set is lost among so few interactions that stay.
        options=lambda method, folder: {"beta": 0.5} if method == "neg_grad_plus" else SMALL.get(method, {}),
        kind="full",
    )


WORLDS: dict[str, Callable[[Path], World]] = {
    "lm": language_model,
    "classifier": classifier,
    "federated": federated,
    "regression": regression,
    "diffusion": diffusion,
    "graph": graph,
    "recommender": recommender,
}
