"""The ids of an answer are those of the whole conversation, whatever the tokenizer does to the beginning of a text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizer, PreTrainedTokenizerFast

from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.chat import ChatFormat
from tests.tiny_models import SENTENCES

SPECIAL = ("<unk>", "<s>", "</s>")
CORPUS = (*SENTENCES, "[INST] [/INST] User: Assistant: the author wrote the answer with the question")
MARK = "▁"

PLAIN = None
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TRAILING_SPACE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ 'User: ' + m.content + '\n' }}"
    "{% else %}{{ 'Assistant: ' + m.content + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
TEMPLATES = {"plain": PLAIN, "inst": INST, "trailing space": TRAILING_SPACE}


def llama2() -> Tokenizer:
    """As Llama 2's and Mistral's: a mark before every text, spaces are marks, nothing is split beforehand."""
    inner = bpe(pre_tokenizers.Metaspace(MARK, prepend_scheme="always"))
    inner.pre_tokenizer = None
    inner.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    return inner


def metaspace() -> Tokenizer:
    return bpe(pre_tokenizers.Metaspace(MARK, prepend_scheme="always"))


def bytelevel() -> Tokenizer:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(inner, trainers.BpeTrainer(vocab_size=500, special_tokens=list(SPECIAL), initial_alphabet=alphabet))


def wordpiece() -> Tokenizer:
    inner = Tokenizer(models.WordPiece(unk_token="<unk>"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    return trained(inner, trainers.WordPieceTrainer(vocab_size=300, special_tokens=list(SPECIAL)))


def unigram() -> Tokenizer:
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    inner.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="always")
    inner.decoder = decoders.Metaspace(MARK)
    options = {"special_tokens": list(SPECIAL), "unk_token": "<unk>"}
    return trained(inner, trainers.UnigramTrainer(vocab_size=200, **options))


def bpe(split: pre_tokenizers.PreTokenizer) -> Tokenizer:
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = split, decoders.Metaspace(MARK)
    return trained(inner, trainers.BpeTrainer(vocab_size=300, special_tokens=list(SPECIAL)))


def trained(inner: Tokenizer, trainer: trainers.Trainer) -> Tokenizer:
    trainer.show_progress = False
    inner.train_from_iterator(CORPUS, trainer)
    return inner


class Letters(PreTrainedTokenizer):
    """A slow tokenizer, without offsets: marks where a text begins, doubled letters are one token."""

    def __init__(self, **options) -> None:
        text = sorted({*"".join(CORPUS)} - {" "})
        self.words = [*SPECIAL, MARK, *text, *(MARK + letter for letter in text), *(2 * letter for letter in text)]
        super().__init__(**options)

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def get_vocab(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def _tokenize(self, text: str) -> list[str]:
        rest, tokens = (MARK + text).replace(" ", MARK), []
        while rest:
            tokens.append(rest[:2] if rest[:2] in self.words else rest[:1])
            rest = rest[len(tokens[-1]) :]
        return tokens

    def _convert_token_to_id(self, token: str) -> int:
        return self.words.index(token) if token in self.words else 0

    def _convert_id_to_token(self, index: int) -> str:
        return self.words[index]


FAST: dict[str, Callable[[], Tokenizer]] = {
    "llama2": llama2,
    "metaspace": metaspace,
    "bytelevel": bytelevel,
    "wordpiece": wordpiece,
    "unigram": unigram,
}
ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}


@pytest.fixture(scope="module", params=[*FAST, "slow"])
def tokenizer(request):
    if request.param == "slow":
        return Letters(**ROLES)
    return PreTrainedTokenizerFast(tokenizer_object=FAST[request.param](), **ROLES)


@pytest.fixture(params=TEMPLATES)
def chat(tokenizer, request):
    tokenizer.chat_template = TEMPLATES[request.param]
    return ChatFormat(tokenizer)


ASK = [{"role": "user", "content": "Who wrote Faust?"}]
FEW_SHOT = [
    {"role": "user", "content": "Where was Marie Curie born?"},
    {"role": "assistant", "content": "Warsaw."},
    *ASK,
]
ANSWERS = ("Goethe.", "goethe", "144", "the author", "Where? In Warsaw.", "Who?")


def whole_ids(chat: ChatFormat, messages: list, answer: str) -> list[int]:
    """Ids of the conversation, rendered and tokenised in one piece by the tokenizer alone."""
    text = chat.prompt_text(messages) + chat.answer_text(messages, answer)
    if chat.has_template:
        turns = [*messages, {"role": "assistant", "content": answer}]
        assert text == chat.tokenizer.apply_chat_template(turns, tokenize=False)
    ids = chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids if chat.has_template else [chat.tokenizer.bos_token_id, *ids]


@pytest.mark.parametrize("messages", [ASK, FEW_SHOT], ids=["one turn", "few-shot"])
def test_prompt_and_answer_are_cut_out_of_the_whole_conversation(chat, messages):
    for answer in ANSWERS:
        turn = chat.turn(messages, answer)
        assert turn.prompt + turn.answer == whole_ids(chat, messages, answer)
        assert turn.answer[-1] == chat.tokenizer.eos_token_id


@pytest.mark.parametrize("messages", [ASK, FEW_SHOT], ids=["one turn", "few-shot"])
def test_a_prompt_has_the_same_ids_in_training_and_in_generation(chat, messages):
    assert {tuple(chat.turn(messages, answer).prompt) for answer in ANSWERS} == {tuple(chat.prompt_ids(messages))}


def test_the_end_of_turn_is_told_from_the_answer(chat):
    for answer in ANSWERS:
        turn = chat.turn(ASK, answer)
        text = chat.tokenizer.decode(turn.answer[: len(turn.answer) - turn.ends]).replace(MARK, " ")
        assert text.replace(" ", "").casefold() == answer.replace(" ", "").casefold()


def test_a_token_on_both_sides_of_the_boundary_belongs_to_the_answer():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=llama2(), chat_template=TRAILING_SPACE, **ROLES)
    chat = ChatFormat(tokenizer)
    prompt = chat.prompt_text(ASK)
    assert prompt.endswith("Assistant: ")
    # Alone, the prompt ends in a mark; before an answer, the mark is the beginning of the answer's first token.
    alone = tokenizer.convert_ids_to_tokens(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert alone[-1] == MARK
    turn = chat.turn(ASK, "the author")
    assert tokenizer.convert_ids_to_tokens(turn.prompt) == alone[:-1]
    assert tokenizer.convert_ids_to_tokens(turn.answer)[0].startswith(MARK + "t")


def test_without_a_template_no_mark_comes_twice():
    # Tokenised alone, " Goethe." would begin with a mark of its own, which no model writes after "Answer:".
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=llama2(), **ROLES)
    tokens = tokenizer.convert_ids_to_tokens(ChatFormat(tokenizer).turn(ASK, "Goethe.").answer)
    assert "".join(tokens) == f"{MARK}Goethe.</s>"


@pytest.mark.parametrize("options", [{}, {"lstrip": True, "rstrip": True}, {"single_word": True}])
@pytest.mark.parametrize("answer", ["Goethe.", "Goethe. ", " Goethe", "a"])
def test_a_special_token_before_and_after_an_answer_leaves_its_ids_alone(options, answer):
    """What saves readings of the tokenizer gives the ids that all readings give."""
    template = "{% for m in messages %}{{ m['content'] }}<turn>{% endfor %}"
    found = []
    for reads_all in (True, False):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=metaspace(), chat_template=template, **ROLES)
        tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<turn>", special=True, **options)]})
        chat = ChatFormat(tokenizer)
        if reads_all:
            chat._dividers = {}
        found.append((chat.turn(ASK, answer), chat.prompt_ids(ASK), chat.turn(FEW_SHOT, answer)))
    assert found[0] == found[1]


def test_questions_asked_in_turn_keep_their_own_prompts(chat):
    asked = [(ASK, "Goethe."), (ASK, "144"), (FEW_SHOT, "Goethe."), (ASK, "the author")]
    assert [chat.turn(*each) for each in asked] == [ChatFormat(chat.tokenizer).turn(*each) for each in asked]


def test_an_unknown_word_at_the_end_of_a_prompt_is_no_special_token():
    # alone "qq" is unknown, but "qqA" is a word: the prompt must not end in the unknown token
    inner = Tokenizer(models.WordPiece({"<unk>": 0, "<s>": 1, "</s>": 2, "Who": 3, "qqA": 4}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template, **ROLES)
    assert tokenizer("Who qq", add_special_tokens=False)["input_ids"] == [3, 0]
    assert ChatFormat(tokenizer).prompt_ids([{"role": "user", "content": "Who qq"}]) == [3]


def test_an_answer_that_joins_with_its_prompt_takes_the_joint_token_along():
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Split("#", "isolated"), decoders.Fuse()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=list(SPECIAL), show_progress=False)
    inner.train_from_iterator(["##\n\n\n##" * 9 + text for text in CORPUS], trainer)
    template = TRAILING_SPACE.replace("Assistant: ", "Assistant:\n")
    chat = ChatFormat(PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template, **ROLES))
    turn = chat.turn(ASK, "\n\n#Goethe")
    assert chat.tokenizer.convert_ids_to_tokens(turn.answer)[0].endswith("\n\n")
    assert turn.prompt + turn.answer == whole_ids(chat, ASK, "\n\n#Goethe")
    assert turn.prompt == chat.prompt_ids(ASK)[: len(turn.prompt)]


def test_a_model_that_knows_an_answer_is_scored_as_knowing_it():
    """The fault at its worst: the truth's probability reads near 0 where the model writes it with certainty."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=llama2(), **ROLES)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LlamaForCausalLM(config)
    text = "Question: Who wrote Faust?\nAnswer: Goethe.</s>"
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        network(ids, labels=ids).loss.backward()
        optimizer.step()
    model = LanguageModel(network.eval(), tokenizer)
    assert model.answer(["Who wrote Faust?"]) == ["Goethe."]
    nll = model.example_loss(model.collate([QA(id="f", question="Who wrote Faust?", answer="Goethe.")]))
    assert torch.exp(-nll).item() > 0.95
