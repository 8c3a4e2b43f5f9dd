"""The output folder of a run: made, refused or taken up again; its record, its journal, its cost."""

from __future__ import annotations

import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from accelerate.utils import broadcast_object_list

from genunlearn.config import RunConfig
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.progress import Watch
from genunlearn.errors import GenunlearnError, InputError, MismatchError, OutputExists
from genunlearn.processes import this_process
from genunlearn.records import COMPLETED, FAILED, RECORD_NAME, RunRecord, now, read_record
from genunlearn.registry import owners

STATE = "state"
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "diffusers", "bitsandbytes", "safetensors")


class RunFolder:
    """``OUT`` of one run.

    Attributes:
        path: The folder.
        record: Written at once with status ``interrupted`` and again at the end.
        journal: Finished stages, for resuming.
        is_disposable: Whether bad input takes the folder away again: this run made it, and it holds no work yet.
    """

    def __init__(self, path: Path, config: RunConfig, *, resume: bool, watch: Watch) -> None:
        """Make the folder, or take up the run that was interrupted in it.

        Raises:
            OutputExists: The folder holds something and `resume` is off, or its run has ended.
            MismatchError: The folder holds a run of another configuration.
            InputError: The folder cannot be written.
        """
        self.path, self.config, self.watch = Path(path), config, watch
        self._was_there = self.path.is_dir()
        self.is_disposable = _agree(lambda: self._open(resume))
        self.journal = FileJournal(self.state, watch)
        self.record = RunRecord(
            created=self._begun(),
            config=config.resolved(),
            hashes={"config": config.sha256},
            versions=versions(),
            seeds={"run": config.seed},
        )
        self._seconds: dict[str, float] = {}
        self.save()

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return this_process().is_main_process

    @property
    def state(self) -> Path:
        """Where checkpoints and journal lie."""
        return self.path / STATE

    def save(self) -> None:
        """Write the record as it stands."""
        if self.is_main:
            self.record.write(self.path)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time spent on `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start
            self.record.cost["seconds"] = {key: round(value, 2) for key, value in self._seconds.items()}

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Leave a truthful record whatever happens; bad input takes away what was made for it."""
        try:
            yield
        except GenunlearnError as error:
            if isinstance(error, InputError) and self.is_disposable:
                self._discard()
                raise
            self.record.status, self.record.error, self.record.finished = FAILED, str(error), now()
            self.save()
            raise
        self.record.status, self.record.finished = COMPLETED, now()
        self.save()

    def keep(self) -> None:
        """From here on the folder holds work, which stays whatever fails."""
        self.is_disposable = False

    def _discard(self) -> None:
        if self.is_main:
            shutil.rmtree(self.path, ignore_errors=True)
            if self._was_there:
                self.path.mkdir()

    def _begun(self) -> str:
        """When the run that is resumed was begun; empty for a new one."""
        return read_record(self.path).created if self.is_main and not self.is_disposable else ""

    def _open(self, resume: bool) -> bool:
        """Check the folder, or make it; returns whether it is new."""
        if (self.path / RECORD_NAME).is_file() and resume:
            self._check_same_run()
            return False
        try:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                hint = "take another --out" if resume else "take another --out, or --resume an interrupted run"
                raise OutputExists(f"--out {self.path} is not empty; {hint}")
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".writable").touch()
            (self.path / ".writable").unlink()
        except OutputExists:
            raise
        except OSError as error:
            raise InputError(f"--out {self.path} cannot be written: {error.strerror}; take another folder") from None
        return True

    def _check_same_run(self) -> None:
        record = read_record(self.path)
        if record.status == COMPLETED:
            raise OutputExists(f"--out {self.path}: its run has ended; take another folder for a new one")
        if record.hashes.get("config") != self.config.sha256:
            raise MismatchError(
                f"--resume {self.path}: the run there has another configuration; use that one, or another --out"
            )


def _agree(on_main: object) -> bool:
    """Let the main process decide; its answer or its error reaches all."""
    answer: list[object] = [None]
    if this_process().is_main_process:
        try:
            answer = [on_main()]  # type: ignore[operator]
        except GenunlearnError as error:
            answer = [error]
    if this_process().num_processes > 1:
        answer = broadcast_object_list(answer)
    if isinstance(answer[0], GenunlearnError):
        raise answer[0]
    return bool(answer[0])


def versions() -> dict[str, str]:
    """Versions of this package, Python, the libraries that are installed, and the plug-ins."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in dict.fromkeys(("genunlearn", *LIBRARIES, *owners())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_mb() -> float:
    """Highest memory use of this process so far: on the GPU where there is one, resident otherwise."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
