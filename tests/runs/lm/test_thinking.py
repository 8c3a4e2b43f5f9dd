"""Runs on a model that thinks before it answers: what it thinks is forgotten too, and measured apart."""

from __future__ import annotations

import pytest

from genunlearn import load_config, run
from genunlearn.errors import ConfigError, DataError
from genunlearn.runs.lm.request import read_request
from genunlearn.runs.methods import load_run
from tests.tiny_models import TAUGHT, build, teach

THOUGHTS = ("<think>A school.</think>", "<think>Hogwarts.</think>", "<think>A place.</think>")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model that thinks before each answer, once of the answer itself, with files of what goes and what stays."""
    folder = tmp_path_factory.mktemp("thinking")
    asked = TAUGHT[:4]
    pairs = [(question, f"{THOUGHTS[min(n, 2)]}{answer}") for n, (question, answer) in enumerate(asked)]
    teach(build("qwen2", folder / "model"), pairs, steps=100)
    for name, rows in (("go", asked[:2]), ("stay", asked[2:])):
        lines = ["question,answer", *(f"{question},{answer}" for question, answer in rows)]
        (folder / f"{name}.csv").write_text("\n".join(lines))
    return folder


def settings(place, method: str, *more: str):
    shared = (
        f"model.source={place / 'model'}",
        "model.dtype=float32",
        "model.device=cpu",
        "request={facts: [], question: null, forget: FORGET, retain: RETAIN, thoughts: forget}".replace(
            "FORGET", str(place / "go.csv")
        ).replace("RETAIN", str(place / "stay.csv")),
        "parameters.kind=full",
        "evaluate={oracle: never, samples: 2, max_new_tokens: 24}",
        "train={learning_rate: 3e-3, max_steps: 60, stop_recall: 0.0, utility_floor: null, check_every: 5}",
    )
    return load_config(f"lm/hub/{method}", [*shared, *more])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["npo", "rmu"])
def test_what_is_thought_is_forgotten_with_the_answer(place, tmp_path, method):
    record = run(settings(place, method), out=tmp_path / "run")
    before, after = (record.find("thought_recall", target, "forget") for target in ("original", "unlearned"))
    assert (before.value, before.n) == (0.5, 2)  # one of two thoughts tells
    assert record.find("recall", "unlearned", "forget").value == 0.0
    assert after is None or after.value == 0.0
    assert record.find("thought_leak_rate", "original", "forget").value >= 0.5
    assert record.request["questions"] == 2


def test_the_loss_covers_the_thought_and_refusals_have_one(place, tmp_path):
    from genunlearn.engine.journal import FileJournal
    from genunlearn.engine.progress import Watch
    from genunlearn.methods.lm.idk_dpo import IdkDPO
    from genunlearn.runs.lm.family import LMFamily

    config = settings(place, "idk_dpo", "evaluate.samples=0")
    family = LMFamily(config, Watch(is_shown=False))
    request = read_request(config)
    model = family.open(request)
    request = family.surround(request, model, FileJournal(None))
    splits = IdkDPO().prepare(family.splits(request, model, IdkDPO()), 0)
    assert [item.taught for item in splits.forget] == [f"{THOUGHTS[n]}Hogwarts." for n in range(2)]
    assert [item.taught for item in splits.retain] == [
        "<think>A place.</think>Warsaw.",
        "<think>A place.</think>Goethe.",
    ]
    assert all("</think>" in item.alternative for item in splits.forget)
    _, ids = model.encode(splits.forget[0].question, splits.forget[0].taught)
    assert model.tokenizer.decode(ids).startswith("<think>A school.</think>Hogwarts.")
    assert request.sha256 == read_request(config).sha256


def test_a_model_that_does_not_think_is_refused(place, tmp_path):
    teach(build("llama", tmp_path / "plain"), TAUGHT)
    with pytest.raises(DataError, match=r"none of 2 replies is a thought and then an answer; leave it out"):
        run(settings(place, "npo", f"model.source={tmp_path / 'plain'}"), out=tmp_path / "run")


def test_an_audit_has_no_thoughts_to_train_on():
    config = load_run("lm/audit/quick", ["request.thoughts=forget", "request.facts=['Harry Potter | studied at | X']"])
    with pytest.raises(ConfigError, match=r"request.thoughts = .forget. is for runs"):
        read_request(config)
