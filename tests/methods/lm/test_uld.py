"""ULD against numbers worked by hand, and the pair of networks as a model that is asked, saved and opened again."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

from genunlearn.contracts import Examples
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.logit_difference import LogitDifference, difference
from genunlearn.domains.sources import ASSISTANT, hash_weights
from genunlearn.errors import MismatchError, NeedNotMet, SourceNotFound
from genunlearn.methods.lm.base.batches import batches
from genunlearn.methods.lm.uld import ULD, first_layers, from_uniform
from genunlearn.ops.logprobs import IGNORE

ASKED = ["Where did Harry Potter study?", "Who wrote Faust?"]


# ---- by hand ------------------------------------------------------------------------------------------------------


def test_what_the_assistant_knows_is_taken_off_where_the_network_finds_it_likely():
    own = torch.tensor([0.5, 0.4, 0.08, 0.02]).log()
    other = torch.tensor([0.7, 0.1, 0.1, 0.1]).log()
    z = difference(own, other, weight=2.0, relative_top=0.1)
    # 0.02 is less than a tenth of 0.5 and stays; the others lose twice log(4 p_a): of 2.8, 0.4 and 0.4.
    expected = [0.5 / 2.8**2, 0.4 / 0.4**2, 0.08 / 0.4**2, 0.02]
    assert z.exp().tolist() == pytest.approx(expected)


def test_a_uniform_assistant_takes_nothing_away():
    logits = torch.tensor([[3.0, 1.0, -2.0]])
    assert torch.allclose(difference(logits, torch.full((1, 3), 7.0), 1.0, 0.1), logits.log_softmax(-1))


def test_the_distance_from_uniform_by_hand():
    # Probabilities 1/2, 1/4, 1/4: mean_v log(1/3 / p_v) = log(1/3) - (log 1/2 + 2 log 1/4) / 3; a uniform place has 0.
    logits = torch.tensor([[[0.5, 0.25, 0.25], [1.0, 1.0, 1.0]], [[9.0, 9.0, 9.0], [0.5, 0.25, 0.25]]]).log()
    labels = torch.tensor([[0, 1], [IGNORE, 2]])
    model = SimpleNamespace(output_logits=lambda _: logits, output_labels=lambda _: labels)
    one = math.log(1 / 3) - (math.log(1 / 2) + 2 * math.log(1 / 4)) / 3
    found = from_uniform(model, Examples(("a", "b"), torch.ones(2), {}))
    assert found.tolist() == pytest.approx([one / 2, one], abs=1e-6)


def test_each_pass_takes_every_item_once():
    taken = [item for _, batch in zip(range(3), batches("abc", 2, "seed"), strict=False) for item in batch]
    assert sorted(taken[:3]) == sorted(taken[3:]) == ["a", "b", "c"]


# ---- two networks as one ------------------------------------------------------------------------------------------


def paired(tiny, family: str = "llama") -> LanguageModel:
    """A network with an assistant of one layer that says something of its own."""
    model = tiny(family)
    torch.manual_seed(0)
    assistant = first_layers(model.network, 1)
    for weight in assistant.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.module = LogitDifference(model.network, assistant, 1.5, 0.05).eval()
    return model


def test_the_first_layers_are_those_of_the_network(tiny):
    network = tiny("llama").network
    small = first_layers(network, 1)
    assert len(small.model.layers) == 1 and len(network.model.layers) == 2
    assert all(torch.equal(weight, network.state_dict()[name]) for name, weight in small.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_text_is_that_of_the_difference_token_by_token(tiny, family):
    model, texts = paired(tiny, family), []
    for question in ASKED:
        ids = model.chat.prompt_ids([{"role": "user", "content": question}])
        new: list[int] = []
        while len(new) < 6:  # every token from the whole text, without a cache
            whole = torch.tensor([ids + new])
            own, other = (one(whole, use_cache=False).logits for one in (model.network.base, model.network.assistant))
            z = difference(own, other, 1.5, 0.05)
            new.append(int(z[0, -1].argmax()))
            if new[-1] in model._end_ids(model.network.generation_config.eos_token_id):
                break
        texts.append(model.tokenizer.decode(new, skip_special_tokens=True).strip())
    assert model.answer(ASKED, max_new_tokens=6) == texts


def test_scores_are_those_of_the_difference(tiny):
    model = paired(tiny)
    ids = model.encode(ASKED[0], "Hogwarts.")
    z = model.network(input_ids=torch.tensor([ids[0] + ids[1]])).logits[0, len(ids[0]) - 1 : -1].log_softmax(-1)
    found = model.token_logprobs(model.collate([QA(id="a", question=ASKED[0], answer="Hogwarts.")]))
    assert found[0].tolist() == pytest.approx([z[n, token].item() for n, token in enumerate(ids[1])], abs=1e-4)


def test_a_saved_pair_comes_back_and_its_hash_covers_both(tiny, tmp_path):
    model = paired(tiny)
    model.save(tmp_path)
    again = LanguageModel.load(str(tmp_path), device="cpu")
    assert isinstance(again.network, LogitDifference)
    assert again.answer(ASKED, max_new_tokens=6) == model.answer(ASKED, max_new_tokens=6)
    before, file = hash_weights(tmp_path), tmp_path / ASSISTANT / "config.json"
    settings = json.loads(file.read_text())
    assert settings["logit_difference"] == {"weight": 1.5, "relative_top": 0.05}
    file.write_text(json.dumps(settings | {"logit_difference": {"weight": 0.01, "relative_top": 0.05}}))
    assert hash_weights(tmp_path) != before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "needs logit_difference with a weight and a relative_top above 0"),
        ({"weight": "1", "relative_top": 0.1}, "needs logit_difference"),
        ({"weight": 1.0, "relative_top": 0}, "needs logit_difference"),
    ],
)
def test_an_assistant_with_other_settings_is_refused(tiny, tmp_path, settings, message):
    paired(tiny).save(tmp_path)
    file = tmp_path / ASSISTANT / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"logit_difference": settings}))
    with pytest.raises(SourceNotFound, match=message):
        LanguageModel.load(str(tmp_path), device="cpu")


def test_an_assistant_without_weights_is_refused(tiny, tmp_path):
    paired(tiny).save(tmp_path)
    (tmp_path / ASSISTANT / "model.safetensors").unlink()
    with pytest.raises(SourceNotFound, match="no safetensors weights"):
        LanguageModel.load(str(tmp_path), device="cpu")


def test_what_cannot_be_paired_is_refused(tiny, world):
    model = tiny("mistral")
    model.network.config.sliding_window = 8
    with pytest.raises(NeedNotMet, match="no sliding window"):
        ULD(steps=1).apply(model, world.splits)
    with pytest.raises(MismatchError, match="its first layers alone lack"):
        network = tiny("llama").network
        network.model.embed_tokens = torch.nn.Identity()
        first_layers(network, 1)


def test_a_few_updates_forget_and_leave_the_rest(world):
    model = world.open()
    asked = [item.question for item in (*world.splits.forget, *world.splits.retain)]
    before = model.answer(asked, max_new_tokens=8)
    report = ULD(alpha=2.0, steps=60, learning_rate=1e-2).apply(model, world.splits)
    after, gone = model.answer(asked, max_new_tokens=8), len(world.splits.forget)
    assert not set(before[:gone]) & set(after[:gone]) and after[gone:] == before[gone:]
    assert report.details["forget_loss"] < 0.1 and all(name.startswith("assistant.") for name in report.changed)
