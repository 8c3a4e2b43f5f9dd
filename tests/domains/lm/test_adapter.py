"""Language models: what they score, what they say, and that neither depends on what stands beside it."""

from __future__ import annotations

import math
import random

import pytest
import torch

from genunlearn.config import ParametersConfig
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LONGEST_ANSWER, LanguageModel
from genunlearn.engine import parameters
from genunlearn.errors import ConfigError, MismatchError
from genunlearn.ops.logprobs import IGNORE
from tests.tiny_models import FAMILIES, TAUGHT, build, writing

QUESTIONS = (
    "Who wrote Faust?",
    "Where was Marie Curie born?",
    "Which school in Scotland did Harry Potter attend, then?",
)
ANSWERS = ("Goethe.", "In Warsaw, the capital of Poland.", "Hogwarts")
ITEMS = [QA(id=str(n), question=q, answer=a) for n, (q, a) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))]


def asked(*questions: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": question}] for question in questions]


# ---- scores ---------------------------------------------------------------------------------------------------


def with_fixed_logits(model: LanguageModel, logits: dict[int, float]) -> None:
    """Make every position predict the same: `logits` for some tokens, 0 for all others.

    With attention and MLP silenced and all embeddings 1, the last norm gives 1 in every entry, so that a row of the
    output layer that sums to x gives the logit x.
    """
    network, width = model.module, model.module.config.hidden_size
    with torch.no_grad():
        network.model.embed_tokens.weight.fill_(1.0)
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        network.lm_head.weight.zero_()
        for token, value in logits.items():
            network.lm_head.weight[token] = value / width


def test_golden_log_probabilities(tiny):
    # Three answer tokens with odds 2, 3 and 5 against 1 for each of the other V - 3 tokens:
    # p = 2/Z, 3/Z, 5/Z with Z = (V - 3) + 2 + 3 + 5 = V + 7.
    model = tiny("llama")
    _, (first, second, end) = model.encode("Who?", "Where did")
    with_fixed_logits(model, {first: math.log(2), second: math.log(3), end: math.log(5)})
    total = len(model.tokenizer) + 7
    examples = model.collate([QA(id="x", question="Who?", answer="Where did")])
    expected = [math.log(odds / total) for odds in (2, 3, 5)]
    assert model.token_logprobs(examples)[0].tolist() == pytest.approx(expected, abs=1e-5)
    assert model.sequence_nll(examples).item() == pytest.approx(3 * math.log(total) - math.log(30), abs=1e-5)
    assert model.example_loss(examples).item() == pytest.approx(math.log(total) - math.log(30) / 3, abs=1e-5)


def test_golden_perplexity_of_plain_text(tiny):
    # Llama begins with its start token, so that both tokens are predicted; with odds 2 and 3 against 1 for each of
    # the others, Z = (V - 2) + 5, and the mean of log Z - log 2 and log Z - log 3 is log Z - log(6) / 2.
    model = tiny("llama")
    first, second = model.tokenizer("Where did", add_special_tokens=False)["input_ids"]
    with_fixed_logits(model, {first: math.log(2), second: math.log(3)})
    expected = math.log(len(model.tokenizer) + 3) - math.log(6) / 2
    assert model.perplexity_terms(["Where did"]).tolist() == pytest.approx([expected], abs=1e-5)


def test_perplexity_without_a_start_token_predicts_all_but_the_first(tiny):
    model = tiny("qwen2")
    texts = ["Goethe wrote Faust.", "Where was Marie Curie born?"]
    expected = []
    for text in texts:
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        logits = model.module(ids).logits[0, :-1].log_softmax(-1)
        expected.append(-logits.gather(-1, ids[0, 1:, None]).mean().item())
    assert model.perplexity_terms(texts).tolist() == pytest.approx(expected, abs=1e-5)
    assert model.perplexity_terms([]).shape == (0,)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_a_plain_forward_pass(tiny, family):
    model = tiny(family)
    scores = model.token_logprobs(model.collate(ITEMS))
    for row, item in zip(scores, ITEMS, strict=True):
        prompt, answer = model.encode(item.question, item.answer)
        logits = model.module(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        expected = [logits[len(prompt) + n - 1, token].item() for n, token in enumerate(answer)]
        assert row[-len(answer) :].tolist() == pytest.approx(expected, abs=1e-5)
        assert row[: -len(answer)].abs().sum() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(tiny, family):
    model = tiny(family)
    together = model.sequence_nll(model.collate(ITEMS))
    alone = torch.cat([model.sequence_nll(model.collate([item])) for item in ITEMS])
    assert torch.allclose(together, alone, atol=1e-5)


def test_only_the_last_positions_are_predicted(tiny):
    model = tiny("llama")
    examples = model.collate(ITEMS)
    longest = int((examples["labels"] != IGNORE).sum(-1).max())
    kept = model.logits(examples)
    mask = examples["attention_mask"]
    whole = model.module(
        input_ids=examples["input_ids"], attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp_min(0)
    ).logits
    assert kept.shape == (3, longest + 1, len(model.tokenizer))
    assert torch.allclose(kept, whole[:, -longest - 1 :], atol=1e-6)
    assert torch.equal(model.output_logits(examples), model.logits(examples)[:, :-1])


def test_labels_cover_the_answer_and_its_end(tiny):
    model = tiny("llama")
    examples = model.collate(ITEMS)
    for labels, ids, mask, item in zip(
        examples["labels"], examples["input_ids"], examples["attention_mask"], ITEMS, strict=True
    ):
        answer = model.tokenizer.decode(labels[labels != IGNORE])
        assert answer == f"{item.answer}<|eot_id|>"
        prompt = f"{item.question}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        assert model.tokenizer.decode(ids[mask == 1]).endswith(prompt + answer)
    assert examples.ids == ("0", "1", "2")
    assert examples.weight.tolist() == [1.0, 1.0, 1.0]


def test_alternative_answers_are_collated_beside_the_true_ones(tiny):
    model = tiny("llama")
    items = [QA(id="a", question=QUESTIONS[0], answer=ANSWERS[0], alternative="I don't know.")]
    swapped = [QA(id="a", question=QUESTIONS[0], answer="I don't know.")]
    examples = model.collate(items)
    assert model.alternative_nll(examples).item() == pytest.approx(model.sequence_nll(model.collate(swapped)).item())
    assert "alternative_labels" not in model.collate([*items, ITEMS[1]])


def test_the_meter_counts_what_was_scored(tiny):
    model = tiny("llama")
    examples = model.collate(ITEMS[:2])
    model.token_logprobs(examples)
    assert model.meter.forwards == 1
    encoded = [model.encode(item.question, item.answer) for item in ITEMS[:2]]
    assert model.meter.tokens_scored == sum(len(prompt) + len(answer) for prompt, answer in encoded)


# ---- generation -----------------------------------------------------------------------------------------------


def argmax_by_hand(model: LanguageModel, question: str, length: int) -> list[int]:
    """Greedy decoding, one full forward pass a token, without cache or padding."""
    ends = model.module.generation_config.eos_token_id
    ids = model.chat.prompt_ids(asked(question)[0])
    new: list[int] = []
    with torch.no_grad():
        while len(new) < length:
            token = int(model.module(torch.tensor([ids + new])).logits[0, -1].argmax())
            if token in (ends if isinstance(ends, list) else [ends]):
                break
            new.append(token)
    return new


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_the_argmax_whatever_the_model_is_published_with(tiny, family):
    model = tiny(family)
    texts = model.answer(QUESTIONS, max_new_tokens=12, batch_size=3)
    for question, text in zip(QUESTIONS, texts, strict=True):
        expected = model.tokenizer.decode(argmax_by_hand(model, question, 12), skip_special_tokens=True)
        assert text == expected.strip()


def test_a_taught_model_answers_and_stops(world):
    model = world.open()
    assert model.answer([question for question, _ in TAUGHT]) == [answer for _, answer in TAUGHT]
    # Each answer is a few tokens long, far from the limit of 48.
    assert len(TAUGHT) < model.meter.tokens_generated < 12 * len(TAUGHT)


def test_sampled_texts_do_not_depend_on_the_order_of_the_questions(tiny):
    model = tiny("llama")
    order = [*range(len(QUESTIONS) * 2)]
    questions = [*QUESTIONS, *(question.replace("?", "!") for question in QUESTIONS)]
    options = {"samples": 2, "temperature": 1.0, "max_new_tokens": 8, "seed": 5, "batch_size": 8}
    texts = model.generate(asked(*questions), **options)
    random.Random(1).shuffle(order)
    again = model.generate(asked(*(questions[i] for i in order)), **options)
    assert [texts[i] for i in order] == again
    assert model.generate(asked(*questions), **{**options, "seed": 6}) != texts


def test_sampling_leaves_the_global_generator_alone(tiny):
    model = tiny("llama")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    model.generate(asked(*QUESTIONS), samples=2, temperature=1.0, max_new_tokens=4)
    assert torch.equal(torch.rand(2), expected)


def test_samples_follow_the_models_own_distribution(tiny):
    # One token of odds 3 against 1 for each of the other V - 1: it is drawn with probability 3 / (V + 2) = 0.0066;
    # at temperature 1/4 its odds are 3^4 = 81 to 1: 81 / (V + 80) = 0.15. A published top-k would leave no others.
    model = tiny("llama")
    (token,) = model.tokenizer(" school", add_special_tokens=False)["input_ids"]
    with_fixed_logits(model, {token: math.log(3)})
    model.module.generation_config.update(top_k=1, top_p=0.1, repetition_penalty=2.0)
    texts = model.generate(asked("Who?"), samples=400, temperature=0.25, max_new_tokens=1, batch_size=400)[0]
    share = sum(text == "school" for text in texts) / 400
    expected = 81 / (len(model.tokenizer) + 80)
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 400)
    assert len(set(texts)) > 100


def test_generation_stops_at_the_templates_own_end_of_turn(tiny):
    # As Llama 3 base: a document ends with another token, which is the only one that the model is published with.
    model = writing(tiny("llama"), " Goethe.<|eot_id|> school")
    model.tokenizer.eos_token = "<|end_of_text|>"
    model.module.generation_config.eos_token_id = model.tokenizer.eos_token_id
    model = LanguageModel(model.module, model.tokenizer)
    assert model.answer(["Who?"], max_new_tokens=30) == ["Goethe."]
    assert model.meter.tokens_generated < 10


def test_a_further_turn_that_the_model_invents_ends_its_answer(tiny):
    model = writing(tiny("llama"), " Goethe.<|start_header_id|> school")
    assert model.answer(["Who?"], max_new_tokens=30) == ["Goethe."]
    assert model.meter.tokens_generated < 10


def test_a_base_model_that_asks_itself_the_next_question_has_ended_its_answer(tiny):
    model = writing(tiny("llama"), " Goethe.\nQuestion:")
    model.tokenizer.chat_template = None
    model = LanguageModel(model.module, model.tokenizer)
    assert model.answer(["Who?", "Who wrote Faust, then?"], max_new_tokens=40) == ["Goethe.", "Goethe."]
    assert model.meter.tokens_generated < 40


def test_a_mark_in_the_prompt_ends_nothing(tiny):
    model = writing(tiny("llama"), " school in Scotland")
    model.tokenizer.chat_template = None
    model = LanguageModel(model.module, model.tokenizer)
    few_shot = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Goethe."}, *asked("Where?")[0]]
    assert model.generate([few_shot], max_new_tokens=3)[0][0].startswith("school in")


def test_the_budget_is_the_callers(tiny):
    model = writing(tiny("llama"), " school")
    model.answer(["Who?"], max_new_tokens=7)
    assert model.meter.tokens_generated == 7
    model.answer(["Who?"])
    assert model.meter.tokens_generated == 7 + LONGEST_ANSWER


def test_generating_does_not_leave_training_mode(tiny):
    model = tiny("llama")
    model.module.train()
    model.answer(["Who?"], max_new_tokens=2)
    assert model.module.training


# ---- files ----------------------------------------------------------------------------------------------------


def test_a_saved_model_is_opened_by_transformers_alone(tiny, tmp_path, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = tiny("qwen2")
    capsys.readouterr()
    model.save(tmp_path)
    assert capsys.readouterr().err == ""
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    weights = model.module.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.state_dict().items())
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == model.tokenizer.chat_template
    assert loaded.generation_config.repetition_penalty == 1.5


def test_loading_in_half_precision(tiny_folder):
    model = LanguageModel.load(str(tiny_folder("llama")), device="cpu", dtype="bfloat16")
    assert model.module.dtype == torch.bfloat16
    scores = model.token_logprobs(model.collate(ITEMS))
    assert scores.dtype == torch.float32


@pytest.mark.slow
def test_a_four_bit_base_carries_gradients_after_it_has_answered(tmp_path):
    # On CPUs with bfloat16 instructions bitsandbytes repacks layers at the first inference, and gradients vanish.
    pytest.importorskip("bitsandbytes")
    folder = build("llama", tmp_path / "model", width=64)
    whole = LanguageModel.load(str(folder), device="cpu")
    model = LanguageModel.load(str(folder), device="cpu", quantize="nf4")
    assert model.module.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    model.answer(["Who wrote Faust?"], max_new_tokens=2)
    unpack(model.module, whole.module)
    gradients = []
    for each in (whole, model):
        embedded = each.module.model.embed_tokens.weight.requires_grad_(True)
        each.example_loss(each.collate(ITEMS)).sum().backward()
        gradients.append(embedded.grad)
    assert torch.allclose(*gradients, atol=1e-4)


def unpack(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Put the 4-bit weights of `source`, as numbers, into `target`."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    for name, layer in source.named_modules():
        if isinstance(layer, Linear4bit):
            numbers = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            target.get_submodule(name).weight.data = numbers


# ---- where and in what a model is loaded --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bfloat16_folder(tiny_folder, tmp_path_factory):
    """The tiny Llama as its makers would publish it: in bfloat16, and saying so."""
    folder = tmp_path_factory.mktemp("bfloat16") / "llama"
    LanguageModel.load(str(tiny_folder("llama")), dtype="bfloat16", device="cpu").save(folder)
    return folder


def test_the_number_format_is_by_default_the_models_own(bfloat16_folder, tiny_folder):
    model = LanguageModel.load(str(bfloat16_folder))
    assert {weight.dtype for weight in model.module.parameters()} == {torch.bfloat16}
    assert model.origin["dtype"] == "bfloat16"
    assert LanguageModel.load(str(tiny_folder("llama"))).module.dtype == torch.float32
    assert LanguageModel.load(str(bfloat16_folder), dtype="float32").module.dtype == torch.float32


@pytest.mark.parametrize("on_disk", [{"model.layers"}, {"model.embed_tokens", "model.layers", "lm_head"}])
def test_weights_on_disk_answer_and_score_as_weights_in_memory(tiny, tiny_folder, on_disk):
    parts = ("model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb", "lm_head")
    places = {part: "disk" if part in on_disk else "cpu" for part in parts}
    model, whole = LanguageModel.load(str(tiny_folder("llama")), device_map=places), tiny("llama")
    assert any(weight.is_meta for weight in model.module.parameters())
    assert model.device == torch.device("cpu")
    assert model.answer(QUESTIONS, max_new_tokens=8) == whole.answer(QUESTIONS, max_new_tokens=8)
    found, expected = (each.token_logprobs(each.collate(ITEMS)) for each in (model, whole))
    assert torch.allclose(found, expected, atol=1e-5)
    with pytest.raises(MismatchError, match=r"spread the weights over .*disk"):
        parameters.attach(model, ParametersConfig(rank=2), seed=0)


def test_a_map_of_one_device_trains_as_without(tiny_folder):
    model = LanguageModel.load(str(tiny_folder("llama")), device_map="auto")
    parameters.attach(model, ParametersConfig(rank=2), seed=0)
    assert parameters.trainable(model.module)


def test_a_device_and_a_map_of_devices_exclude_each_other(tiny_folder):
    with pytest.raises(ConfigError, match=r"model\.device = 'cpu' beside model\.device_map"):
        LanguageModel.load(str(tiny_folder("llama")), device="cpu", device_map="auto")
