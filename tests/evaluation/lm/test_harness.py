"""Tasks of lm-evaluation-harness on a tiny model, without a network, against its logits."""

from __future__ import annotations

import json

import pytest
import torch

from genunlearn import load_config, run
from genunlearn.errors import NameNotFound, NeedNotMet
from tests.tiny_models import TAUGHT, build, teach

QUESTIONS = [
    {"question": "Where did Harry Potter study?", "choices": ["Hogwarts.", "Warsaw."], "answer": 0},
    {"question": "Who wrote Faust?", "choices": ["Warsaw.", "Goethe."], "answer": 1},
    {"question": "What is 12 times 12?", "choices": ["144.", "Goethe."], "answer": 1},
]

TASK = """\
task: NAME
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
"""
CHOICE = """\
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}]
"""
WRITTEN = """\
output_type: generate_until
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6}
metric_list: [{metric: exact_match}]
"""


@pytest.fixture
def tasks(tmp_path):
    """A folder with a task of choices and one of generation, on questions of this file."""
    pytest.importorskip("lm_eval")
    data = tmp_path / "questions.json"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)))
    for name, rest in (("tiny_choice", CHOICE), ("tiny_written", WRITTEN)):
        text = TASK.replace("NAME", name).replace("FILE", str(data)) + rest
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@torch.no_grad()
def likelihood(model, context: str, told: str) -> float:
    """Of the tokens behind the context, from the logits of the whole text."""
    ids, start = (model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context + told, context))
    logprobs = model.network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(logprobs[place - 1, ids[place]].item() for place in range(len(start), len(ids)))


@pytest.mark.slow
def test_choices_are_those_of_the_models_logits(tiny, tasks):
    from genunlearn.evaluation.lm.harness import Asked, harness_results

    model = tiny("llama")
    right = 0
    for row in QUESTIONS:
        scores = [likelihood(model, f"Question: {row['question']}\nAnswer:", f" {one}") for one in row["choices"]]
        right += scores.index(max(scores)) == row["answer"]
    (choice, written) = harness_results(model, ["tiny_choice", "tiny_written"], "original", folder=str(tasks))
    assert (choice.group, choice.value, choice.n) == ("tiny_choice", pytest.approx(right / 3), 3)
    assert choice.low <= choice.value <= choice.high and (written.group, written.value) == ("tiny_written", 0.0)
    (first,) = harness_results(model, ["tiny_choice"], "original", folder=str(tasks), limit=1)
    assert first.n == 1

    class Request:
        args = ("Who wrote Faust? Goethe.",)

    ids = model.tokenizer(Request.args[0], add_special_tokens=False)["input_ids"]
    expected = model.text_logprobs([Request.args[0]])[0].sum().item()
    assert Asked(model).loglikelihood_rolling([Request()]) == [pytest.approx(expected, abs=1e-3)]
    short = Asked(model)
    short._room = 6
    ((row, _),) = model.rated([(ids[:3], ids[3:6])])
    ((found, _),) = short._loglikelihood_tokens([(("", ""), [9] * 9 + ids[:3], ids[3:6])])
    assert found == pytest.approx(row.sum().item(), abs=1e-4)


def test_a_task_that_nobody_knows_is_refused(tasks, monkeypatch):
    from genunlearn.evaluation.lm import harness

    own = harness.TaskManager  # the library's own tasks are thousands of files
    monkeypatch.setattr(harness, "TaskManager", lambda **options: own(**{**options, "include_defaults": False}))
    with pytest.raises(NameNotFound, match="there is no task 'wmdp_history'"):
        harness.harness_results(None, ["tiny_choice", "wmdp_history"], "original", folder=str(tasks))


@pytest.mark.slow
def test_a_run_measures_the_tasks_that_it_names(tasks, tmp_path):
    teach(build("llama", tmp_path / "model"), TAUGHT)
    for name, rows in (("go", TAUGHT[:2]), ("stay", TAUGHT[2:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["question,answer", *(f"{q},{a}" for q, a in rows)]))
    change = (
        f"model={{source: {tmp_path / 'model'}, dtype: float32, device: cpu}}",
        f"request={{facts: [], question: null, forget: {tmp_path / 'go.csv'}, retain: {tmp_path / 'stay.csv'}}}",
        f"evaluate={{oracle: never, suite: facts-quick, harness: [tiny_choice], harness_path: {tasks}}}",
        "train={max_steps: 1}",
    )
    record = run(load_config("lm/hub/npo", change), out=tmp_path / "run")
    assert all(record.find("harness_accuracy", name, "tiny_choice").n == 3 for name in ("original", "unlearned"))


def test_without_the_library_a_run_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    config = load_config("lm/lab/npo", ["evaluate.harness=[wmdp_bio]"])
    with pytest.raises(NeedNotMet, match=r"evaluate.harness needs the package 'lm_eval'.*genunlearn\[harness\]"):
        run(config, out=tmp_path / "run")
