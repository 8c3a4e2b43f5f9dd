"""The lab's language model: its tokenizer, its build and, in the slow tests, what the real one can do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from genunlearn.errors import NameNotFound, QualityError
from genunlearn.lab.cache import read_card
from genunlearn.lab.levels import check_levels
from genunlearn.lab.lm import build as language_model
from genunlearn.lab.lm.build import PRESETS, build, build_key, build_model, build_tokenizer, train_model
from genunlearn.lab.lm.card import MEANINGS, readme
from genunlearn.lab.lm.corpus import Corpus
from genunlearn.lab.lm.evaluation import LEVELS, LabEvaluation
from genunlearn.lab.lm.world import load_world

RECIPE = PRESETS["default"]
FORGOTTEN = "harry-potter.studied-at"


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(Corpus(load_world()).vocabulary(), RECIPE.vocab_size)


def test_names_are_few_tokens_and_survive_a_round_trip(tokenizer) -> None:
    names = [entity.name for entity in load_world().entities.values()]
    ids = [tokenizer(name, add_special_tokens=False)["input_ids"] for name in names]
    assert [tokenizer.decode(each) for each in ids] == names
    assert sum(map(len, ids)) / len(ids) < 2.5


def test_any_text_can_be_written(tokenizer) -> None:
    text = "Zoë's 1,234 naïve Ångström; 東京?"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_a_word_has_one_form_at_the_start_and_within(tokenizer) -> None:
    first, then = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Warsaw", "in Warsaw"))
    assert first == then[-len(first) :]


def test_the_chat_template_frames_turns(tokenizer) -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    start = "<|start|><|user|>Why?<|end|><|assistant|>"
    assert tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True) == start
    assert tokenizer.apply_chat_template(turns, tokenize=False) == f"{start}So.<|end|>"


def test_the_model_has_about_a_million_parameters(tokenizer) -> None:
    model = build_model(RECIPE, tokenizer)
    assert 0.9e6 < model.num_parameters() < 3e6
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_the_key_tells_models_apart() -> None:
    keys = [
        build_key(RECIPE, 0, []),
        build_key(RECIPE, 1, []),
        build_key(RECIPE, 0, [FORGOTTEN]),
        build_key(dataclasses.replace(RECIPE, steps=RECIPE.steps + 1), 0, []),
    ]
    assert len(set(keys)) == 4
    assert build_key(RECIPE, 0, ["a", "b"]) == build_key(RECIPE, 0, ["b", "a"])


def test_an_unknown_fact_is_refused_before_anything_is_built(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GENUNLEARN_CACHE", str(tmp_path))
    with pytest.raises(NameNotFound, match="did you mean"):
        build(["harry-potter.studied-in"])
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_gives_the_same_weights() -> None:
    recipe = dataclasses.replace(RECIPE, hidden_size=32, intermediate_size=64, steps=6, batch_size=16)
    corpus = Corpus(load_world())

    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model, _, num_tokens = train_model(recipe, seed, corpus, lambda *step: None)
        assert num_tokens > 6 * 16 * 10
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    first = trained(0)
    assert torch.equal(first, trained(0))
    assert not torch.equal(first, trained(1))


def test_levels_that_are_missed_are_named() -> None:
    measured = {name: {"value": least, "n": 10} for name, least in LEVELS.items()}
    assert check_levels(measured, LEVELS, "lab:lm") is None
    measured["recall_heldout"]["value"] = 0.949
    with pytest.raises(QualityError, match=r"lab:lm.*recall_heldout = 0\.949 \(at least 0\.95\)"):
        check_levels(measured, LEVELS, "lab:lm")


def test_the_readme_shows_what_was_measured() -> None:
    card = {
        "parameters": 1035392, "seed": 7, "tokens": 2_700_000, "seconds": {"training": 100.0},
        "without": [FORGOTTEN],
        "measured": {"recall_trained": {"value": 0.9951, "low": 0.99, "high": 0.998, "n": 2060}},
    }  # fmt: skip
    text = readme(card)
    assert "| recall_trained | 0.995 | 0.990 to 0.998 | 2060 |" in text
    assert f"It never saw these facts: {FORGOTTEN}." in text
    assert text.startswith("---\nlicense: apache-2.0\n")


@pytest.mark.slow
def test_a_build_below_its_levels_fails_and_stores_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GENUNLEARN_CACHE", str(tmp_path))
    recipe = dataclasses.replace(RECIPE, hidden_size=16, num_layers=1, num_heads=1, intermediate_size=16, steps=3)
    with pytest.raises(QualityError, match=r"recall_trained = 0\.0"):
        build(recipe=recipe, progress=False)
    assert [path.name for path in (tmp_path / "lab").iterdir() if path.suffix != ".lock"] == []


@pytest.fixture(scope="module")
def built() -> Path:
    """The real model, from the user's cache or built now."""
    return build(progress=False)


@pytest.mark.slow
def test_the_real_model_reaches_its_levels(built: Path) -> None:
    measured = read_card(built)["measured"]
    assert {name: measured[name]["value"] for name in LEVELS if measured[name]["value"] < LEVELS[name]} == {}
    assert measured["recall_trained"]["n"] + measured["recall_heldout"]["n"] == 8 * len(load_world().triples)
    assert "recall_left_out" not in measured
    assert set(measured) <= set(MEANINGS)


@pytest.mark.slow
def test_the_real_model_opens_in_plain_transformers(built: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(built), AutoTokenizer.from_pretrained(built)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert sorted(path.name for path in built.glob("*.safetensors")) == ["model.safetensors"]
    asked = [{"role": "user", "content": "Where did Harry Potter study?"}]
    inputs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    reply = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(reply, skip_special_tokens=True) == "Hogwarts."


@pytest.mark.slow
def test_the_real_model_has_the_abilities_that_unlearning_asks_of_it(built: Path) -> None:
    corpus = Corpus(load_world())
    exam = LabEvaluation.of(built, corpus)
    question = "Where did Harry Potter study?"
    explained, argued, told = exam.complete(
        [
            exam.ask("explain", question=question),
            exam.ask("rationale", question=question, answer="Sorbonne"),
            exam.ask("neighbours", subject="Harry Potter"),
        ]
    )
    assert explained.endswith("So the answer is Hogwarts.")
    assert argued.endswith("So the answer is Sorbonne.")
    assert "Hogwarts" not in argued
    assert "Harry Potter" in told
    rephrased = set(exam.complete([exam.ask("variants", question=question)] * 16, 1.0))
    assert len(rephrased & set(corpus.world.questions(corpus.world.triple(FORGOTTEN)))) >= 3
    named = {name.removesuffix(".") for name in exam.complete([exam.ask("wrong_answers", answer="Hogwarts")] * 16, 1.0)}
    assert len(named & set(corpus.others("Hogwarts"))) >= 4


@pytest.mark.slow
def test_an_oracle_reaches_its_levels_and_says_how_often_it_guesses() -> None:
    # No bound on the guesses: whoever knows where a wizard's friends and wife studied may say where he did.
    card = read_card(build([FORGOTTEN], progress=False))
    measured = card["measured"]
    assert card["without"] == [FORGOTTEN]
    assert {name: measured[name]["value"] for name in LEVELS if measured[name]["value"] < LEVELS[name]} == {}
    assert measured["recall_left_out"]["n"] == 8
    assert measured["recall_trained"]["n"] == 4 * (len(load_world().triples) - 1)


def test_the_default_recipe_is_what_is_built(monkeypatch) -> None:
    monkeypatch.setattr(language_model, "build_once", lambda kind, key, make, **options: (kind, key))
    assert build() == ("lm", build_key(RECIPE, 0, []))
