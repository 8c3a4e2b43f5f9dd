"""Bad input: one line on stderr that says where and what to do, exit code 2, and nothing is touched."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable

import pytest

from genunlearn.records import read_record, write_jsonl
from tests.tiny_models import build

FACT = "Harry Potter | studied at | Hogwarts"
QUESTION = "Where did Harry Potter study?"


@pytest.fixture
def refused_at_once(refused, capsys, call, workplace) -> Callable[..., str]:
    """As `refused`, where nothing at all comes before the complaint."""

    def refused_at_once(*arguments: object) -> str:
        assert call(*arguments).err.count("\n") == 1
        return refused(*arguments)

    return refused_at_once


# ---- the command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["unlearn"], "No such command 'unlearn'.*: see genunlearn --help"),
        (["ls", "methdos"], "No such command 'methdos'.* Did you mean 'methods'?.*: see genunlearn ls --help"),
        (["run"], "Missing argument '(?i:config)': see genunlearn run --help"),
        (["run", "x", "--bogus"], "No such option.* '?--bogus'?.* '?--out'?.*: see genunlearn run --help"),
        (["report", "a", "b"], r"Got unexpected extra argument(\(s\))? \(b\): see genunlearn report --help"),
    ],
)
def test_a_wrong_command_line(refused_at_once, arguments, complaint):
    assert re.fullmatch(complaint, refused_at_once(*arguments))  # the words are the library's, and differ by release


@pytest.mark.parametrize(
    ("arguments", "command", "advice"),
    [
        (["run", "lm/lab/unstar"], "run", "interrupted; --resume goes on with a run"),
        (["forget", "--fact", FACT], "forget", "interrupted; --resume goes on with a run"),
        (["check", "lm/lab/unstar"], "check", "interrupted"),
        (["lab", "build", "lm"], "lab_build", "interrupted"),
    ],
)
def test_an_interruption_advises_to_resume_what_can_be_resumed(call, monkeypatch, arguments, command, advice):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"genunlearn.cli.commands.{command}", interrupted)
    done = call(*arguments)
    assert (done.code, done.err) == (130, f"genunlearn: {advice}\n")


# ---- configurations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "check", "antisamples"])
@pytest.mark.parametrize(
    ("sections", "line", "complaint"),
    [
        ({"trian": {}}, 8, "unknown key 'trian'; did you mean 'train'?"),
        ({"train": {"max_step": 3}}, 6, "unknown key 'train.max_step'; did you mean 'max_steps'?"),
        ({"train": {"max_steps": "ten"}}, 6, "train.max_steps = 'ten': input should be a valid integer"),
        ({"method": {"name": "unstr"}}, 4, "unknown method 'unstr'; did you mean 'unstar'"),
        ({"method": {"name": "npo", "bta": 1}}, 4, "method 'npo' has no 'bta'; did you mean 'beta'?"),
        ({"method": {"name": "npo", "beta": -1}}, 4, "npo.beta = -1: input should be greater than 0"),
        ({"method": {"name": "unstar", "stop": "now"}}, 4, "unstar.stop = 'now': input should be 'not_truth' or "),
    ],
)
def test_a_wrong_key_or_value(refused_at_once, write_config, command, sections, line, complaint):
    path = write_config(**sections)
    assert refused_at_once(command, path).startswith(f"{path}:{line}: {complaint}")


def test_a_duplicate_key(refused_at_once, write_config):
    path = write_config()
    path.write_text(path.read_text() + "domain: lm\n")
    assert refused_at_once("run", path) == f'{path}:8: found duplicate key "domain": keep one of the two'


def test_a_wrong_override(refused_at_once, write_config):
    path = write_config()
    override = "--set 'method.gama=2'"
    complaint = refused_at_once("run", path, "--set", "method.gama=2")
    assert complaint == f"{override}: method 'grad_diff' has no 'gama'; did you mean 'gamma'?"


def test_an_unknown_configuration(refused_at_once):
    assert refused_at_once("run", "lm/lab/unstr").startswith("no configuration 'lm/lab/unstr'; did you mean ")


@pytest.mark.parametrize("option", ["--method", "--compare"])
def test_an_unknown_method_on_the_command_line(refused_at_once, model_folder, option):
    complaint = refused_at_once(
        "forget", "--model", model_folder, "--fact", FACT, "--question", QUESTION, option, "unstr"
    )
    assert complaint.startswith("unknown method 'unstr'; did you mean 'unstar'")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("model.prompts=nope", "unknown prompt suite (model.prompts) 'nope'; known: auto, instruct, lab"),
        ("model.device=tpu", "model.device = 'tpu' is not to be had here ("),
        ("model.device=meta", "model.device = 'meta' holds no numbers: use auto"),
        ('parameters.target_modules="("', "parameters.target_modules = '(': no regular expression (missing )"),
        ("parameters.target_modules=[]", "parameters.target_modules: names no layer: use all-linear"),
        ("model.source=./gone", "no model at './gone': give a folder"),
        ("evaluate.oracle=./gone", "no model at './gone': give a folder"),
        ("model.source=lab:digits", "lab 'digits' is for network, not for lm; lm has "),
        ("request.neutral=gone.txt", "gone.txt: there is no such file; check the path"),
    ],
)
def test_check_refuses_what_run_refuses(refused_at_once, write_config, override, complaint):
    path = write_config()
    for command in (["check", path], ["run", path, "--out", "out"]):
        assert complaint in refused_at_once(*command, "--set", override)


@pytest.mark.parametrize("name", ["judge", "clip", "backbone"])
def test_check_refuses_judges_that_are_not_there(refused_at_once, name):
    settings = ("unlearned=lab:diffusion", "request.concepts=[digit seven]", f"evaluate.{name}=./gone")
    complaint = refused_at_once(
        "check", "diffusion/audit/quick", *(part for one in settings for part in ("--set", one))
    )
    assert complaint.startswith(f"evaluate.{name} = './gone': no model at './gone'")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["forget"], 'nothing to forget: give --fact "subject | relation | object", or --facts FILE'),
        (["forget", "--fact", FACT, "--facts", "x"], "--fact and --facts given: name what to forget in one of them"),
        (["forget", "--model", "lab:digits", "--fact", FACT], "lab 'digits' is for network, not for lm; lm has"),
        (["forget", "--fact", FACT, "--sealed"], "--sealed is about the ledger: give --ledger FILE too"),
        (["ask", "Who?", "--samples", "2", "--temperature", "0"], "--samples 2: at temperature 0 all answers are the"),
        (["ask", "Who?", "--patch", "nowhere"], "no patch at nowhere: give a run's folder, or its patch (OUT/patch)"),
    ],
)
def test_what_is_lacking_is_said_in_options(refused_at_once, arguments, complaint):
    assert refused_at_once(*arguments).startswith(complaint)


def test_a_method_of_another_family_is_answered_with_a_few_of_this_one(refused_at_once):
    complaint = refused_at_once("erase", "--concept", "digit seven", "--method", "rmu")
    assert complaint.startswith("method 'rmu' is for lm, not for diffusion; diffusion has ")
    assert complaint.endswith(" more (genunlearn ls methods)") and complaint.count(",") < 8


# ---- the request ----------------------------------------------------------------------------------------------


def test_a_fact_whose_object_occurs_in_its_question(refused_at_once, workplace, model_folder):
    question = "Did Harry Potter study at Hogwarts?"
    complaint = refused_at_once("forget", "--model", model_folder, "--fact", FACT, "--question", question)
    assert FACT in complaint
    assert "Hogwarts" in complaint
    rows = [
        {"subject": "Marie Curie", "object": "Warsaw", "question": "Where was Marie Curie born?"},
        {"subject": "Harry Potter", "object": "Hogwarts", "question": question},
    ]
    write_jsonl(workplace / "facts.jsonl", rows)
    complaint = refused_at_once("forget", "--model", model_folder, "--facts", "facts.jsonl")
    assert complaint.startswith("facts.jsonl, line 2: ")


@pytest.mark.parametrize(
    "request_section", [{}, {"facts": []}, {"facts": [FACT], "forget": "forget.jsonl"}, {"retain": "retain.jsonl"}]
)
def test_nothing_to_forget_or_two_ways_of_saying_it(refused_at_once, write_config, request_section):
    complaint = refused_at_once("run", write_config(request=request_section))
    assert complaint.endswith("given; name what to forget in one of request.facts, .file, .forget or .path")


@pytest.mark.parametrize("content", ["", "\n\n", "[]"])
def test_an_empty_forget_file(refused_at_once, write_config, workplace, content):
    path = write_config()
    (workplace / "forget.jsonl").write_text(content)
    assert refused_at_once("run", path) == "forget.jsonl: there are no rows; write at least one"


def test_a_row_that_cannot_be_read(refused_at_once, write_config, workplace):
    path = write_config()
    with (workplace / "forget.jsonl").open("a") as file:
        file.write('{"question": "Who?"\n')
    assert refused_at_once("run", path).startswith("forget.jsonl, line 3: malformed JSON")


def test_forget_and_retain_that_overlap(refused_at_once, write_config, workplace):
    path = write_config()
    shutil.copy(workplace / "forget.jsonl", workplace / "retain.jsonl")
    complaint = refused_at_once("run", path)
    assert QUESTION in complaint
    assert complaint.endswith("take it out of the retain data")


@pytest.mark.parametrize("name", ["forget", "retain"])
def test_a_file_that_is_not_there(refused_at_once, write_config, workplace, name):
    (workplace / f"{name}.jsonl").unlink()
    assert refused_at_once("run", write_config()).startswith(f"{name}.jsonl: there is no such file")


def test_a_method_without_what_it_needs(refused_at_once, write_config):
    complaint = refused_at_once("run", write_config(request={"forget": "forget.jsonl"}))
    assert complaint.startswith("method 'grad_diff' needs retain data")


def test_a_fact_without_its_question(refused_at_once, model_folder):
    complaint = refused_at_once("forget", "--model", model_folder, "--fact", FACT)
    assert complaint.endswith('has no question to ask the model; add one with --question "..."')


def test_an_unknown_fact_of_the_lab(refused_at_once):
    complaint = refused_at_once("forget", "--fact", "Harry Potter | studied at | Hogwart")
    assert complaint.startswith("name = 'Hogwart' is not in the lab's world; did you mean 'Hogwarts'")


def test_an_unknown_lab(refused_at_once):
    assert refused_at_once("forget", "--model", "lab:ml", "--fact", FACT).startswith("unknown lab 'ml'; ")


def test_what_the_model_does_not_know(refused_late, write_config, workplace):
    path = write_config()
    write_jsonl(workplace / "forget.jsonl", [{"question": "Where did Ron Weasley work?", "answer": "The Ministry."}])
    complaint = refused_late("run", path)
    assert "the model does not know this to begin with" in complaint
    assert complaint.endswith("request.force = true goes on all the same")


def test_what_the_model_does_not_know_can_be_forced(call, write_config, workplace):
    path = write_config()
    write_jsonl(workplace / "forget.jsonl", [{"question": "Where did Ron Weasley work?", "answer": "The Ministry."}])
    assert call("run", path, "--out", "out", "--set", "request.force=true").code == 0
    assert read_record(workplace / "out").status == "completed"


# ---- models and patches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            lambda folder: (folder / "tokenizer.json").unlink(),
            "no tokenizer (tokenizer.json); save one beside the model",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
            "half-written or damaged weight file; write or fetch it again",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "no safetensors weights"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json; this is not a model folder"),
    ],
)
def test_a_model_folder_that_is_not_whole(refused_at_once, write_config, workplace, model_folder, damage, complaint):
    broken = shutil.copytree(model_folder, workplace / "broken")
    damage(broken)
    path = write_config(model={"source": "broken"})
    for arguments in (["run", path, "--out", "out"], ["ask", "--model", "broken", QUESTION]):
        assert complaint in refused_at_once(*arguments)
    assert not (workplace / "out").exists()


@pytest.mark.parametrize("section", ["model", "evaluate"])
def test_a_model_that_is_not_there_is_found_missing_before_any_work(refused_at_once, write_config, section):
    sections = {"model": {"source": "./gone"}, "evaluate": {"suite": "facts-quick", "oracle": "./gone"}}
    complaint = refused_at_once("run", write_config(**{section: sections[section]}))
    assert complaint == "no model at './gone': give a folder, a hub id (owner/name) or lab:NAME"


def test_a_patch_for_another_base(call, refused, write_config, workplace):
    assert call("run", write_config(), "--out", "out").code == 0
    build("llama", workplace / "other", seed=5)
    complaint = refused("ask", "--model", "other", "--patch", "out/patch", QUESTION)
    assert complaint.startswith("out/patch: made for base ")
    assert "load the model that the patch's record names" in complaint


def test_lora_that_matches_no_layer(refused, write_config):
    path = write_config(parameters={"target_modules": ["nothing"]})
    complaint = refused("run", path, "--out", "out")
    assert complaint.startswith(
        "parameters.target_modules = ('nothing',) matches no layer of the model: use all-linear"
    )


def test_four_bits_take_no_merge(refused_at_once, write_config, model_folder):
    path = write_config(
        model={"source": str(model_folder), "quantize": "nf4"},
        request={"facts": [FACT], "question": QUESTION},
        method={"name": "unstar", "merge_each_round": True},
    )
    assert refused_at_once("run", path).startswith("method.merge_each_round = true needs model.quantize = none")


def test_four_bits_and_full_weights(refused_at_once, write_config, model_folder):
    path = write_config(model={"source": str(model_folder), "quantize": "nf4"}, parameters={"kind": "full"})
    assert refused_at_once("run", path) == "model.quantize = 'nf4' allows parameters.kind = 'lora' only, got 'full'"


# ---- the output folder ----------------------------------------------------------------------------------------


def test_an_output_folder_that_is_not_empty(refused_at_once, write_config, workplace):
    (workplace / "out").mkdir()
    (workplace / "out" / "thesis.tex").write_text("years of work")
    path = write_config()
    assert refused_at_once("run", path, "--out", "out") == (
        "--out out is not empty; take another --out, or --resume an interrupted run"
    )
    assert refused_at_once("run", path, "--out", "out", "--resume") == "--out out is not empty; take another --out"


@pytest.mark.parametrize("out", ["forget.jsonl", "forget.jsonl/out"])
def test_an_output_folder_that_cannot_be_one(refused_at_once, write_config, out):
    assert refused_at_once("run", write_config(), "--out", out).startswith(f"--out {out} ")


def test_resuming_what_has_ended_or_is_another_run(call, refused_at_once, write_config, workplace):
    path = write_config()
    assert call("run", path, "--out", "out").code == 0
    out = workplace / "out"
    before = (out / "record.json").read_bytes()
    done = call("run", path, "--out", "out", "--resume")
    assert (done.code, done.out.splitlines()[0]) == (0, "out: its run has ended already; nothing is done again")
    assert (out / "record.json").read_bytes() == before
    record = json.loads((out / "record.json").read_text())
    (out / "record.json").write_text(json.dumps({**record, "status": "interrupted"}))
    complaint = refused_at_once("run", path, "--out", "out", "--resume", "--set", "seed=4")
    assert complaint == "--resume out: the run there has another configuration; use that one, or another --out"


# ---- a run that fails -----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite(call, write_config, workplace):
    path = write_config(train={"learning_rate": 1e30, "max_steps": 5, "save_every": 100})
    done = call("run", path, "--out", "out")
    assert done.code == 1
    (complaint,) = [line for line in done.err.splitlines() if line.startswith("genunlearn: ")]
    assert complaint.startswith("genunlearn: step 2: term ")
    assert "the weights are kept as they were after step 1" in complaint
    assert "Traceback" not in done.err
    record = read_record(workplace / "out")
    assert record.status == "failed"
    assert record.error == complaint.removeprefix("genunlearn: ")
    assert (workplace / "out" / "state" / "state.safetensors").is_file()


# ---- records and anti-samples ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_folder_without_a_record(refused_at_once, command):
    complaint = refused_at_once(command, "nowhere")
    assert complaint == "no record at nowhere: give a folder that a run has written (its --out)"


def test_a_record_that_is_cut_short(refused_at_once, workplace):
    (workplace / "record.json").write_text('{"schema": "genunlearn.record/1",\n "sta')
    assert refused_at_once("report", workplace).startswith(f"{workplace / 'record.json'}:2: not JSON")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (None, "no anti-samples at "),
        ("", "no anti-samples in it: keep at least one row"),
        ('{"fact": "x", "question": "Who?", "text": ', "reviewed.jsonl:1: not JSON"),
        ('\n{"fact": "x", "question": "Who?", "text": "He."}', "reviewed.jsonl:2: fact 'x' is not in this request"),
        ('{"fact": "x", "question": " ", "text": "He."}', "reviewed.jsonl:1: 'question' is missing or empty"),
        ('{"fact": "x", "txt": "He."}', "reviewed.jsonl:1: unknown fields ['txt']"),
    ],
)
def test_reviewed_anti_samples_that_cannot_be_used(refused_at_once, workplace, write_config, rows, complaint):
    if rows is not None:
        (workplace / "reviewed.jsonl").write_text(rows)
    path = write_config(
        request={"facts": [FACT], "question": QUESTION, "retain": "retain.jsonl"}, method={"name": "unstar"}
    )
    assert complaint in refused_at_once("run", path, "--antisamples", "reviewed.jsonl", "--out", "out")
    assert not (workplace / "out").exists()


def test_a_method_that_writes_no_anti_samples(refused_at_once, write_config):
    complaint = refused_at_once("antisamples", write_config())
    assert complaint == "method 'grad_diff' writes no anti-samples; unstar does"
