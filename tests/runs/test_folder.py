"""The output folder: taken away while it holds nothing, kept as soon as it holds work."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from genunlearn.config.lm import LMConfig
from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError, InputError, MismatchError, NonFiniteLoss, OutputExists
from genunlearn.records import read_record
from genunlearn.runs import folder as folder_module
from genunlearn.runs.folder import RunFolder, ended_run

CONFIG = LMConfig()


def open_folder(path: Path, *, resume: bool = False, config: LMConfig = CONFIG) -> RunFolder:
    return RunFolder(path, config, resume=resume, watch=Watch(is_shown=False))


def fail(folder: RunFolder, error: Exception) -> None:
    with pytest.raises(type(error)), folder.guarded():
        raise error


def test_a_run_is_interrupted_until_it_has_ended(tmp_path):
    folder = open_folder(tmp_path / "out")
    assert read_record(tmp_path / "out").status == "interrupted"
    with folder.guarded():
        folder.record.outcome = "forgotten"
    record = read_record(tmp_path / "out")
    assert (record.status, record.outcome) == ("completed", "forgotten")
    assert record.finished >= record.created


def test_bad_input_takes_a_new_folder_away(tmp_path):
    folder = open_folder(tmp_path / "out")
    fail(folder, DataError("no such fact"))
    assert list(tmp_path.iterdir()) == []


def test_bad_input_leaves_an_empty_folder_that_was_there(tmp_path):
    (tmp_path / "out").mkdir()
    fail(open_folder(tmp_path / "out"), DataError("no such fact"))
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_input_that_shows_late_takes_no_work_away(tmp_path):
    folder = open_folder(tmp_path / "out")
    (tmp_path / "out" / "patch").mkdir()
    folder.keep()
    fail(folder, DataError("the oracle is gone"))
    record = read_record(tmp_path / "out")
    assert (record.status, record.error) == ("failed", "the oracle is gone")
    assert (tmp_path / "out" / "patch").is_dir()


def test_a_failure_is_written_down(tmp_path):
    fail(open_folder(tmp_path / "out"), NonFiniteLoss("step 3: term 'forget' = nan"))
    record = read_record(tmp_path / "out")
    assert (record.status, record.error) == ("failed", "step 3: term 'forget' = nan")


def test_a_crash_leaves_the_run_to_be_resumed(tmp_path):
    fail(open_folder(tmp_path / "out"), KeyboardInterrupt())
    assert read_record(tmp_path / "out").status == "interrupted"
    assert open_folder(tmp_path / "out", resume=True).is_disposable is False


def test_a_resumed_run_is_as_old_as_it_is(tmp_path):
    folder = open_folder(tmp_path / "out")
    folder.record.created = "2025-11-21T09:14:03Z"
    fail(folder, KeyboardInterrupt())
    folder.save()
    assert open_folder(tmp_path / "out", resume=True).record.created == "2025-11-21T09:14:03Z"
    assert read_record(tmp_path / "out").created == "2025-11-21T09:14:03Z"


def test_a_run_is_not_taken_up_on_data_that_have_changed(tmp_path):
    def opened(sha256: str, *, resume: bool) -> RunFolder:
        known = {"request": sha256}
        return RunFolder(tmp_path / "out", CONFIG, resume=resume, watch=Watch(is_shown=False), data=known)

    fail(opened("a", resume=False), KeyboardInterrupt())
    before = (tmp_path / "out" / "record.json").read_bytes()
    with pytest.raises(MismatchError, match="the data have changed since that run began") as caught:
        opened("b", resume=True)
    assert "\n" not in str(caught.value) and (tmp_path / "out" / "record.json").read_bytes() == before
    assert opened("a", resume=True).record.hashes["request"] == "a"


def test_bad_input_leaves_the_folder_of_a_resumed_run(tmp_path):
    open_folder(tmp_path / "out")
    fail(open_folder(tmp_path / "out", resume=True), DataError("the model is gone"))
    assert read_record(tmp_path / "out").error == "the model is gone"


def test_a_run_that_has_ended_is_not_begun_again(tmp_path):
    with open_folder(tmp_path / "out").guarded():
        pass
    with pytest.raises(OutputExists, match="its run has ended; take another folder for a new one"):
        open_folder(tmp_path / "out", resume=True)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="out cannot be written: Permission denied; take another folder"):
        open_folder(tmp_path / "out")


def test_time_is_counted_by_phase(tmp_path):
    folder = open_folder(tmp_path / "out")
    for _ in range(2):
        with folder.phase("load"):
            pass
    with pytest.raises(DataError), folder.phase("unlearn"):
        raise DataError("x")
    assert set(folder.record.cost["seconds"]) == {"load", "unlearn"}


# ---- nothing is lost --------------------------------------------------------------------------------------------


def test_measurements_are_never_deleted(tmp_path):
    folder = open_folder(tmp_path / "out")
    with pytest.raises(DataError), folder.guarded():
        folder.journal.stage("evaluate/original", lambda: [0.5])
        raise DataError("evaluate.pool = 10: too few")
    record = read_record(tmp_path / "out")
    assert (record.status, record.error) == ("failed", "evaluate.pool = 10: too few")
    assert open_folder(tmp_path / "out", resume=True).journal.stage("evaluate/original", lambda: None) == [0.5]


@pytest.mark.parametrize("name", ["state/units/a.json", "state/state.safetensors", "images/a.png"])
def test_units_checkpoints_and_images_are_never_deleted(tmp_path, name):
    folder = open_folder(tmp_path / "out")
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.touch()
    fail(folder, DataError("refused late"))
    assert path.is_file()


def test_a_damaged_journal_lets_go_of_the_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), (folder := open_folder(tmp_path / "out")).guarded():
        folder.journal.stage("one", lambda: 1)
        folder.journal.stage("two", lambda: 2)
        raise KeyboardInterrupt
    journal = tmp_path / "out" / "state" / "journal.jsonl"
    sound = journal.read_text()
    journal.write_text(f"x{sound}")
    with pytest.raises(DataError, match=r"journal\.jsonl:1: not JSON; the journal is damaged"):
        open_folder(tmp_path / "out", resume=True)
    journal.write_text(sound)
    assert open_folder(tmp_path / "out", resume=True).journal.seconds.keys() == {"one", "two"}


# ---- one process at a time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_which_a_run_works_is_refused(tmp_path, resume):
    match = "another process works in it; wait until it has ended, or take another --out"
    with open_folder(tmp_path / "out").guarded(), pytest.raises(OutputExists, match=match):
        open_folder(tmp_path / "out", resume=resume)
    assert read_record(tmp_path / "out").status == "completed"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["record.json"]


def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    def die() -> None:
        with open_folder(tmp_path / "out").guarded():
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "out" / ".lock").is_file()  # the file, which the system has unlocked
    with open_folder(tmp_path / "out", resume=True).guarded():
        pass
    assert read_record(tmp_path / "out").status == "completed"


def test_a_process_killed_before_its_record_leaves_an_empty_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").touch()
    with open_folder(tmp_path / "out").guarded():
        pass


# ---- what a record says -----------------------------------------------------------------------------------------


def test_the_record_names_device_dtype_threads_and_processes_beside_its_seconds(tmp_path):
    config = LMConfig.model_validate({"model": {"device": "cpu", "dtype": "bfloat16"}})
    cost = open_folder(tmp_path / "out", config=config).record.cost
    assert cost.pop("device_name")
    assert cost == {"device": "cpu", "dtype": "bfloat16", "threads": torch.get_num_threads(), "processes": 1}


def test_the_record_names_what_the_model_was_loaded_in(tmp_path):
    folder = open_folder(tmp_path / "out")
    folder.describe_model(torch.nn.Linear(2, 2, dtype=torch.float16))
    assert (folder.record.cost["dtype"], folder.record.cost["device"]) == ("float16", "cpu")


def test_the_record_names_what_had_no_deterministic_algorithm(tmp_path, monkeypatch):
    # `put_` has none on any device, so that it stands for what a GPU lacks.
    folder = open_folder(tmp_path / "out")
    monkeypatch.setattr(folder_module, "this_process", lambda: SimpleNamespace(device=torch.device("cuda")))
    with folder.phase("unlearn"):
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
    with folder.phase("evaluate"):
        torch.zeros(2).add_(1)
    assert folder.record.cost["not_deterministic"] == {"unlearn": ["put_"]}


def test_a_run_that_has_ended_is_found_by_its_configuration(tmp_path):
    assert ended_run(tmp_path / "out", CONFIG) is None
    fail(open_folder(tmp_path / "out"), KeyboardInterrupt())
    assert ended_run(tmp_path / "out", CONFIG) is None
    with open_folder(tmp_path / "out", resume=True).guarded():
        pass
    record = ended_run(tmp_path / "out", CONFIG)
    assert record is not None and record.status == "completed"
    with pytest.raises(MismatchError, match="the run there has another configuration"):
        ended_run(tmp_path / "out", LMConfig(seed=1))


@pytest.mark.parametrize("name", ["x" * 5000, "file", "file/out"])
def test_a_place_that_cannot_be_a_folder_is_refused_in_one_line(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--out .*; take another"):
        open_folder(tmp_path / name)
