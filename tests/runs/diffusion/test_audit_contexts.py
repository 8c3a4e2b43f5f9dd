"""What an audit of a pipeline asks for: the concept, what must stay, anchors and decoys, at every look."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from genunlearn.config import build_config
from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.contracts import ANCHOR, DECOY, ORIGINAL
from genunlearn.errors import ConfigError, DataError
from genunlearn.runs.diffusion.audit_contexts import DECOY_WORD, Contexts, on_its_side
from genunlearn.runs.diffusion.audit_request import kept_prompts, read_subjects


def config_of(source: str = "lab:diffusion", *, evaluate: dict[str, Any] | None = None, **request: Any) -> Any:
    data = {
        "task": "audit",
        "model": {"source": source},
        "unlearned": "x",
        "request": request,
        "evaluate": evaluate or {},
    }
    config = build_config({**data, "domain": "diffusion"})
    assert isinstance(config, DiffusionAuditConfig)
    return config


def contexts_of(config: Any) -> tuple[Any, Contexts]:
    (subject, *_) = read_subjects(config)
    detectors: Any = SimpleNamespace(of=lambda subject: None)
    return subject, Contexts(config, {name: None for name in ("original", "unlearned")}, detectors)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [10, 60, 100])
def test_what_must_stay_names_nothing_that_should_be_gone(count):
    prompts = kept_prompts(config_of(concepts=["digit seven", "style red"], evaluate={"kept_images": count}), [])
    assert len(prompts) == count
    named = {concept.label for prompt in prompts for concept in prompt.concepts}
    assert not named & {"digit seven", "style red"} and {"digit zero", "digit nine"} <= named
    assert all("seven" not in prompt.text and "red" not in prompt.text.split() for prompt in prompts)


def test_elsewhere_the_request_or_the_judge_says_what_must_stay():
    def names(labels: list[str], **request: Any) -> set[str]:
        found = kept_prompts(config_of("elsewhere", concepts=["cat | Kitten"], **request), labels)
        return {concept.name for prompt in found for concept in prompt.concepts}

    assert names(["cat", "dog", "kitten", "church"]) == {"dog", "church"}
    assert names(["cat", "dog"], retain=["owl"]) == {"owl"}
    assert names([]) == set()
    assert len(names([f"label {number}" for number in range(1000)])) == 12


def test_a_concept_is_asked_for_in_templates_of_ones_own():
    words = ["a painting by {}", "in the style of {}"]
    config = config_of("elsewhere", concepts=["Van Gogh -> Monet"], retain=["Dali"], templates=words)
    (gone, kept) = read_subjects(config)
    assert gone.prompts == ("a painting by Van Gogh", "in the style of Van Gogh")
    assert gone.anchor is not None and gone.anchor.prompts == ("a painting by Monet", "in the style of Monet")
    assert gone.neighbours == ("in the style of Dali",) and kept.prompts[0] == "a painting by Dali"
    assert {prompt.text for prompt in kept_prompts(config, [])} == {"a painting by Dali", "in the style of Dali"}
    with pytest.raises(DataError, match="has to have one"):
        read_subjects(config_of("elsewhere", concepts=["Van Gogh"], templates=["a painting"]))


def test_braces_in_a_template_are_text():
    config = config_of("elsewhere", concepts=["cat"], retain=["owl"], templates=["{}, {{high}} {quality}"])
    assert read_subjects(config)[0].prompts == ("cat, {{high}} {quality}",)
    assert kept_prompts(config, [])[0].text == "owl, {{high}} {quality}"


def test_prompts_of_a_file_ask_for_the_concept_they_name(tmp_path):
    rows = ["prompt,concept", "Starry Night by Van Gogh,Van Gogh", "Irises by Van Gogh,Van Gogh", "Dali's clock,Dali",
            "Water lilies by Monet,Monet", "a plain wall,"]  # fmt: skip
    file = tmp_path / "prompts.csv"
    file.write_text("\n".join(rows))
    asked: dict[str, Any] = {"concepts": ["Van Gogh -> Monet"], "retain": ["Dali", "Klee"]}
    config = config_of("elsewhere", evaluate={"prompts": str(file), "kept_images": 10}, **asked)
    gone, dali, klee = read_subjects(config)
    assert gone.prompts == ("Starry Night by Van Gogh", "Irises by Van Gogh")
    assert gone.anchor is not None and gone.anchor.prompts == ("Water lilies by Monet",)
    assert dali.prompts == ("Dali's clock",) and "Klee" in klee.prompts[0] and len(klee.prompts) > 1
    kept = [prompt.text for prompt in kept_prompts(config, [])]
    assert kept.count("Dali's clock") == 5 and len(set(kept)) > 2
    for row, told in (("Starry Night,Van Gogh", "'Starry Night' does not say 'Van Gogh'"), ("x,y", "no row names")):
        file.write_text(f"prompt,concept\n{row}")
        with pytest.raises(DataError, match=told):
            read_subjects(config)
    with pytest.raises(ConfigError, match="the lab has prompts of its own"):
        read_subjects(config_of(concepts=["digit seven"], evaluate={"prompts": str(file)}))


def test_the_anchor_is_named_or_the_next_that_is_not_gone():
    def anchor(*concepts: str, source: str = "lab:diffusion", **request: Any) -> str | None:
        found = read_subjects(config_of(source, concepts=list(concepts), **request))[0].anchor
        return found.label if found else None

    assert anchor("digit seven") == "digit eight"
    assert anchor("digit seven", "digit eight") == "digit nine"
    assert anchor("digit nine") == "digit zero"
    assert anchor("digit seven -> digit one") == "digit one"
    assert anchor("Van Gogh -> a painting", source="x") == "a painting"
    assert anchor("Van Gogh", source="x", retain=["Monet"]) == "Monet"
    assert anchor("Van Gogh", source="x") is None


def test_surrogates_end_what_was_begun_as_the_concept():
    subject, contexts = contexts_of(config_of(concepts=["digit seven"], evaluate={"images": 50}))
    own, anchor, decoy = (contexts.of(subject, kind) for kind in (ORIGINAL, ANCHOR, DECOY))
    assert anchor.seeds == decoy.seeds == own.seeds
    assert anchor.begins == decoy.begins == own.prompts and own.begins == ()
    assert [prompt.replace("seven", "eight") for prompt in own.prompts] == list(anchor.prompts)
    assert [prompt.replace("seven", DECOY_WORD) for prompt in own.prompts] == list(decoy.prompts)
    told = {word for text in (*decoy.prompts, *decoy.paraphrases) for word in text.replace(",", " ").split()}
    assert DECOY_WORD in told and not told & {"seven", "7"}


def test_looks_draw_other_images_and_go_on_in_the_prompts():
    subject, contexts = contexts_of(config_of(concepts=["digit seven"], evaluate={"images": 30, "most_images": 120}))
    assert contexts.sizes == (30, 60, 120)
    looks = [contexts.of(subject, ORIGINAL, look) for look in range(3)]
    assert [len(look.seeds) for look in looks] == [30, 30, 60]
    assert not [pair for pair in combinations(looks, 2) if set(pair[0].seeds) & set(pair[1].seeds)]
    assert sum((look.prompts for look in looks), ()) == subject.turns(120)
    assert contexts.of(subject, "unlearned", 1) is looks[1]


def test_decoys_are_turned_by_a_quarter():
    image = torch.zeros(1, 3, 4, 4)
    image[..., 0, :] = 1  # a bar at the top lies at the left
    assert on_its_side(image)[0, 0].tolist() == [[1, 0, 0, 0]] * 4
