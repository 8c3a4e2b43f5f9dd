"""Closed-form methods on real pipelines, against the published loops over layers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from torch import Tensor

from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import forget_prompts, parse_concepts, preserve_prompts
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.edits import concept_columns, preserved_columns
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.domains.diffusion.weights import read_lora
from genunlearn.errors import DataError, MismatchError, NeedNotMet
from genunlearn.methods.diffusion.mace import MACE
from genunlearn.methods.diffusion.rece import RECE
from genunlearn.methods.diffusion.speed import SPEED
from genunlearn.methods.diffusion.time_edit import TIME
from genunlearn.methods.diffusion.uce import UCE
from genunlearn.ops.embeddings import adversarial_inputs, gram_of
from genunlearn.ops.linear_edits import without_shared
from genunlearn.registry import DOMAINS
from tests.tiny_pipelines import FAMILIES, MAX_TOKENS, tiny

EDITS = {"uce": UCE(), "time": TIME(), "rece": RECE(), "speed": SPEED(values_only=False), "mace": MACE()}
SEVEN, CAT = "digit seven -> digit zero", "cat -> dog"


def model(family: str = "sd1") -> Diffusion:
    return Diffusion(tiny(family), text_length=MAX_TOKENS)


def splits(concepts: list[str], preserve: tuple[str, ...] = ("church", "Van Gogh")) -> Splits:
    erasure = parse_concepts(concepts, preserve)
    return Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure))


def weights_of(adapter: Diffusion) -> dict[str, Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in adapter.prompt_layers().items()}


def naive(weight: Tensor, keys: Tensor, values: Tensor, scales: Tensor, ridge: float) -> Tensor:
    """The published closed form of one layer."""
    left, right = ridge * weight, ridge * torch.eye(weight.shape[1], dtype=weight.dtype)
    for key, value, scale in zip(keys, values, scales, strict=True):
        left, right = left + scale * torch.outer(value, key), right + scale * torch.outer(key, key)
    return left @ torch.linalg.inv(right)


def answers(adapter: Diffusion, prompt: str) -> list[Tensor]:
    """What every layer makes of the tokens of a prompt."""
    tokens = adapter.encode_prompts([prompt]).tokens[0]
    return [layer(tokens).detach() for layer in adapter.prompt_layers().values()]


def distance(adapter: Diffusion, prompt: str, goals: list[Tensor]) -> float:
    return sum(float((a - b).norm()) for a, b in zip(answers(adapter, prompt), goals, strict=True))


# ---- tokens that carry a concept -----------------------------------------------------------------------


def test_concept_tokens_meet_the_anchor_s() -> None:
    adapter = model()
    prompts = forget_prompts(parse_concepts(["van gogh -> art"], templates=["a {} cat"]))
    sources, targets = concept_columns(adapter, prompts)
    old, new = (adapter.encode_prompts([text]).tokens[0] for text in ("a van gogh cat", "a art cat"))
    # <start> a [van gogh] cat <end> ...  against  <start> a [art] cat <end> ...
    torch.testing.assert_close(sources, old[2:])
    torch.testing.assert_close(targets, torch.cat([new[[2, 2]], new[3:-1]]))


def test_a_longer_anchor_gives_its_first_tokens_and_then_what_follows_it() -> None:
    adapter = model()
    sources, targets = concept_columns(adapter, forget_prompts(parse_concepts(["cat -> van gogh"])))
    new = adapter.encode_prompts(["van gogh"]).tokens[0]
    torch.testing.assert_close(targets[:2], new[[1, 3]])
    assert len(sources) == MAX_TOKENS - 1


def test_the_empty_anchor_is_the_end_of_the_empty_prompt() -> None:
    adapter = model()
    _, targets = concept_columns(adapter, forget_prompts(parse_concepts(["digit seven"])))
    empty = adapter.encode_prompts([""]).tokens[0]
    # digit seven <end> <end>  against  nothing <end> <end>
    torch.testing.assert_close(targets[:4], empty[[1, 1, 1, 2]])


def test_the_last_token_alone_as_published() -> None:
    adapter = model()
    prompts = forget_prompts(parse_concepts(["digit seven", "cat -> van gogh"]))
    sources, targets = concept_columns(adapter, prompts, "last")
    seven, cat, gogh, empty = (
        adapter.encode_prompts([text]).tokens[0] for text in ("digit seven", "cat", "van gogh", "")
    )
    torch.testing.assert_close(sources, torch.stack([seven[2], cat[1]]))
    torch.testing.assert_close(targets, torch.stack([empty[0], gogh[2]]))
    kept = preserved_columns(adapter, prompts[1:], "last")
    torch.testing.assert_close(kept, cat[1:2])


def test_every_section_of_a_joint_transformer_is_edited() -> None:
    adapter = model("sd3")
    sources, _ = concept_columns(adapter, forget_prompts(parse_concepts(["red cat"])))
    tokens = adapter.encode_prompts(["red cat"]).tokens[0]
    torch.testing.assert_close(sources, torch.cat([tokens[1:MAX_TOKENS], tokens[MAX_TOKENS:]]))


def test_an_empty_request_is_refused() -> None:
    for method in EDITS.values():
        with pytest.raises(DataError, match="nothing to forget"):
            method.apply(model(), Splits(forget=[], retain=splits([SEVEN]).retain))


# ---- against the published loops -----------------------------------------------------------------------


@pytest.mark.parametrize("tokens", ["all", "last"])
@pytest.mark.parametrize("family", FAMILIES)
def test_uce_is_the_published_edit_of_every_layer(family: str, tokens: str) -> None:
    adapter, request = model(family), splits([SEVEN, CAT])
    kept = preserved_columns(adapter, request.retain, tokens)
    sources, targets = without_shared(*concept_columns(adapter, request.forget, tokens), kept)
    before = weights_of(adapter)
    report = UCE(erase_scale=0.7, preserve_scale=2.0, ridge=0.3, tokens=tokens).apply(adapter, request)
    keys = torch.cat([sources, kept]).double()
    scales = torch.cat([torch.full((len(sources),), 0.7), torch.full((len(kept),), 2.0)])
    for name, weight in before.items():
        values = torch.cat([targets, kept]).double() @ weight.double().T
        expected = naive(weight.double(), keys, values, scales, 0.3).float()
        torch.testing.assert_close(weights_of(adapter)[name], expected, rtol=2e-3, atol=2e-4)
    assert set(report.changed) == {f"{name}.weight" for name in before}


def test_uce_s_orthogonal_values_are_those_of_each_layer() -> None:
    adapter, request = model(), splits([CAT], preserve=())
    sources, targets = concept_columns(adapter, request.forget)
    before = weights_of(adapter)
    UCE(value="orthogonal").apply(adapter, request)
    for name, weight in before.items():
        w = weight.double()
        old, new = sources.double() @ w.T, targets.double() @ w.T
        values = new - (new * old).sum(1, keepdim=True) / old.square().sum(1, keepdim=True) * old
        expected = naive(w, sources.double(), values, torch.ones(len(sources)), 0.5).float()
        torch.testing.assert_close(weights_of(adapter)[name], expected, rtol=2e-3, atol=2e-4)


def test_rece_is_the_published_loop() -> None:
    adapter, request = model(), splits([CAT])
    sources, targets = (columns.double() for columns in concept_columns(adapter, request.forget))
    kept = preserved_columns(adapter, request.retain).double()
    before = {name: weight.double() for name, weight in weights_of(adapter).items()}
    RECE(rounds=2, is_cumulative=False).apply(adapter, request)

    now, found = dict(before), sources
    scales = torch.cat([torch.ones(len(sources)), torch.full((len(kept),), 0.1)])
    for round_number in range(3):
        if round_number:
            left = sum(w.T @ w for w in now.values()) + 0.1 * torch.eye(len(sources[0]))
            right = sum(now[name].T @ before[name] for name in now)
            found = torch.linalg.solve(left, right @ sources.T).T
        keys = torch.cat([found, kept])
        now = {n: naive(w, keys, torch.cat([targets, kept]) @ w.T, scales, 0.1) for n, w in now.items()}
    for name, weight in weights_of(adapter).items():
        torch.testing.assert_close(weight, now[name].float(), rtol=2e-3, atol=2e-4)


def test_rece_without_rounds_is_uce() -> None:
    one, other = model(), model()
    RECE(rounds=0, ridge=0.5, preserve_scale=1.0).apply(one, splits([CAT]))
    UCE().apply(other, splits([CAT]))
    for name, weight in weights_of(one).items():
        torch.testing.assert_close(weight, weights_of(other)[name])


def test_rece_leaves_an_adversary_less() -> None:
    def residue(method: RECE | UCE) -> float:
        """How far the answers to the best adversary are from the concept's original ones, relatively."""
        adapter = model()
        original = list(weights_of(adapter).values())
        sources, _ = concept_columns(adapter, splits([CAT]).forget)
        before = torch.cat([layer(sources) for layer in adapter.prompt_layers().values()], 1)
        method.apply(adapter, splits([CAT], preserve=()))
        edited = torch.cat(list(weights_of(adapter).values())).double()
        map_of_input = torch.linalg.lstsq(torch.cat(original).double(), edited).solution
        found = adversarial_inputs(gram_of(original), map_of_input, sources, 0.1)
        after = found.double() @ edited.T
        return float((after - before).norm() / before.norm())

    assert residue(RECE(rounds=4)) > 1.2 * residue(UCE())


def test_speed_leaves_preserved_prompts_exactly_where_they_are() -> None:
    adapter = model("sdxl")  # 32 dimensions; the sixteen tokens of one prompt span half of them
    request = splits([CAT], preserve=("church",))
    church, dog = answers(adapter, "church"), answers(adapter, "dog")
    far = distance(adapter, "cat", dog)
    SPEED(values_only=False, threshold=1e-6, is_filtered=False, centres=0).apply(adapter, request)
    assert distance(adapter, "church", church) < 1e-3
    assert distance(adapter, "cat", dog) < 0.95 * far


def test_speed_edits_values_by_default() -> None:
    adapter = model()
    before = weights_of(adapter)
    SPEED(threshold=10.0).apply(adapter, splits([CAT]))
    moved = {name for name, weight in weights_of(adapter).items() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.endswith("to_v")}


def test_mace_fuses_a_lora_for_each_concept(tmp_path: Path) -> None:
    files = []
    for number, concept in enumerate((SEVEN, CAT)):
        adapter = model()
        UCE(tokens="last").apply(adapter, splits([concept], preserve=()))
        files.append(str(adapter.export(tmp_path / str(number))))
    adapter = model()
    goals = {}
    for concept, name, file in ((SEVEN, "digit seven", files[0]), (CAT, "cat", files[1])):
        patched = model()
        patched.load_patch(Path(file).parent)
        goals[name] = answers(patched, name)
        assert concept.startswith(name)
    refine = MACE(ridge=1e-4, templates=(), loras=tuple(files))
    refined = model()
    MACE(ridge=1e-4, templates=()).apply(refined, splits([SEVEN, CAT], preserve=()))
    report = refine.apply(adapter, splits([SEVEN, CAT], preserve=()))
    assert report.details["fused"] == 2
    before = {name: layer.weight for name, layer in refined.prompt_layers().items()}
    for number, name in enumerate(("digit seven", "cat")):
        last = adapter.prompts.spans(name, name)[0][2]
        tokens = adapter.encode_prompts([name]).tokens[0][last - 1]
        change = read_lora(Path(files[number]), "unet")
        for layer, weight in before.items():
            wanted = tokens @ (weight + change[layer].delta()).T
            got = adapter.network.get_submodule(layer)(tokens)
            plain = tokens @ weight.T
            assert (got - wanted).norm() < 0.2 * (plain - wanted).norm()


def test_mace_wants_one_lora_a_concept(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"loras names 1 files for 2 concepts \(digit seven, cat\)"):
        MACE(loras=("a",)).apply(model(), splits([SEVEN, CAT]))
    adapter = model()
    adapter.module = get_peft_model(
        adapter.module, LoraConfig(r=1, init_lora_weights=False, target_modules=list(adapter.layer_names("x")))
    )
    adapter.export(tmp_path)
    with pytest.raises(MismatchError, match="which does not read the prompt"):
        MACE(loras=(str(tmp_path),)).apply(model(), splits([CAT]))


# ---- what every edit does ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EDITS)
def test_a_concept_is_answered_as_its_anchor_and_others_as_before(name: str) -> None:
    adapter = model("sdxl")
    dog, church, cat = (answers(adapter, prompt) for prompt in ("dog", "church", "cat"))
    far = distance(adapter, "cat", dog)
    exact = SPEED(values_only=False, threshold=1e-6, is_filtered=False)
    method = exact if name == "speed" else EDITS[name]
    method.apply(adapter, splits([CAT], preserve=("church",)))
    assert distance(adapter, "cat", dog) < (0.95 if name == "speed" else 0.5) * far
    assert distance(adapter, "church", church) < 0.5 * distance(adapter, "cat", cat)


@pytest.mark.parametrize("name", EDITS)
def test_weights_that_do_not_read_the_prompt_stay_bit_for_bit(name: str) -> None:
    adapter = model()
    before = {n: p.detach().clone() for n, p in adapter.network.named_parameters()}
    report = EDITS[name].apply(adapter, splits([SEVEN, CAT]))
    for n, parameter in adapter.network.named_parameters():
        assert torch.equal(parameter, before[n]) == (n not in report.changed), n


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_an_edit_is_an_exact_lora(name: str, family: str, tmp_path: Path) -> None:
    adapter = model(family)
    EDITS[name].apply(adapter, splits([SEVEN, CAT]))
    adapter.export(tmp_path)
    plain = tiny(family)
    plain.load_lora_weights(tmp_path)
    few = Sampling(steps=3, guidance=3.0)
    images = adapter.images(["digit seven", "church"], [1, 2], few)
    again = Diffusion(plain, text_length=MAX_TOKENS).images(["digit seven", "church"], [1, 2], few)
    torch.testing.assert_close(again, images, atol=2e-3, rtol=0)


def test_scale_zero_changes_nothing() -> None:
    adapter = model()
    before = weights_of(adapter)
    report = UCE(erase_scale=0.0).apply(adapter, splits([CAT]))
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(adapter).items())
    assert report.details["size"] == 0.0


def test_debiasing_meets_the_anchors_in_the_middle() -> None:
    adapter = model()
    cat, dog = (answers(adapter, prompt) for prompt in ("cat", "dog"))
    UCE(ridge=1e-6, tokens="last").apply(adapter, splits(["church -> cat & dog"], preserve=()))
    for got, one, two in zip(answers(adapter, "church"), cat, dog, strict=True):
        torch.testing.assert_close(got[1], (one[1] + two[1]) / 2, rtol=1e-2, atol=1e-2)


def test_synonyms_go_too() -> None:
    adapter = model()
    dog = answers(adapter, "dog")
    far = distance(adapter, "church", dog)
    UCE().apply(adapter, splits(["cat | church -> dog"], preserve=()))
    assert distance(adapter, "church", dog) < 0.6 * far


def test_a_shared_beginning_is_not_edited_away() -> None:
    adapter = model()
    report = UCE().apply(adapter, splits([SEVEN], preserve=("digit three",)))
    # fourteen of fifteen tokens: <start> and `digit` are those of "digit three" as well
    assert report.details["edited_tokens"] == MAX_TOKENS - 2


def test_time_reads_more_templates_than_the_request_has() -> None:
    adapter = model()
    report = TIME(templates=("a photo of {}",)).apply(adapter, splits([CAT], preserve=()))
    assert report.details["edited_tokens"] == (MAX_TOKENS - 1) + (MAX_TOKENS - 4)


def test_values_only_does_not_fit_a_joint_transformer() -> None:
    with pytest.raises(NeedNotMet, match="values only: SD3Transformer2DModel has no cross-attention"):
        TIME(values_only=True).apply(model("sd3"), splits([CAT]))
    with pytest.raises(NeedNotMet, match="values only"):
        SPEED().apply(model("flux"), splits([CAT]))


def test_speed_needs_something_to_preserve() -> None:
    with pytest.raises(NeedNotMet, match="'speed' needs retain"):
        SPEED().check(DOMAINS.get("diffusion"), retain=False)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [(UCE, {"ridge": 0.0}), (UCE, {"erase_scale": -1.0}), (UCE, {"tokens": "first"}), (RECE, {"rounds": -1}),
     (TIME, {"ridge": "much"}), (SPEED, {"threshold": 0.0}), (MACE, {"lora": ()})],
)  # fmt: skip
def test_bad_settings_are_refused(kind: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**bad)
