"""The output folder of a run: made, refused or taken up again; its lock, its record, its journal, its cost."""

from __future__ import annotations

import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from accelerate.utils import broadcast_object_list

from genunlearn.config import RunConfig, build_config
from genunlearn.engine.determinism import reproducible
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.progress import Watch
from genunlearn.errors import GenunlearnError, InputError, MismatchError, OutputExists
from genunlearn.processes import of_all, this_process
from genunlearn.records import COMPLETED, FAILED, RECORD_NAME, RunRecord, now, read_record
from genunlearn.registry import owners

if TYPE_CHECKING:
    import torch
    from filelock import FileLock
    from torch import nn

STATE = "state"
LOCK_NAME = ".lock"
"""Held by the process that works in the folder; the system takes the lock off a process that is killed."""
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "diffusers", "bitsandbytes", "safetensors")


class RunFolder:
    """``OUT`` of one run.

    Attributes:
        path: The folder.
        record: Written at once with status ``interrupted`` and again at the end.
        journal: Finished stages, for resuming.
        is_disposable: Whether bad input takes the folder away again: this run made it, and nobody has called `keep`.
    """

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        *,
        resume: bool,
        watch: Watch,
        data: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Make the folder, or take up the run that was interrupted in it.

        Args:
            path: The folder.
            config: The run.
            resume: Take up a run.
            watch: Told of progress.
            data: Hashes of what the run is about, by name, for its record: what is done there already is of the same.

        Raises:
            OutputExists: The folder holds something and `resume` is off, its run has ended, or another process works
                in it.
            MismatchError: The folder holds a run of another configuration, or on other data.
            InputError: The folder cannot be written.
        """
        self.path, self.config, self.watch, self._data = Path(path), config, watch, data
        self._lock: FileLock | None = None
        self._was_there = False
        self.is_disposable = _agree(lambda: self._open(resume))
        self._seconds: dict[str, float] = {}
        try:
            self.journal = FileJournal(self.state, watch)
            self.record = RunRecord(
                created=self._begun(),
                config=config.resolved(),
                hashes={"config": config.sha256, **data},
                versions=versions(),
                seeds={"run": config.seed},
                cost=machine(config),
            )
            self.save()
        except BaseException:  # a journal that is damaged
            self._leave()
            raise

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
        """Count the time spent on `name`; what a GPU could not compute deterministically in it is noted."""
        start = time.perf_counter()
        with reproducible(this_process().device) as lacking:
            try:
                yield
            finally:
                self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start
                self.record.cost["seconds"] = {key: round(value, 2) for key, value in self._seconds.items()}
                if lacking:
                    self.record.cost.setdefault("not_deterministic", {})[name] = sorted(lacking)

    def describe_model(self, network: nn.Module) -> None:
        """State the number format and the devices of a loaded model, which its configuration may leave to others."""
        weights = [weight for weight in network.parameters() if weight.is_floating_point()]
        devices = dict.fromkeys(weight.device for weight in weights)
        if weights:
            self.record.cost |= {
                "dtype": str(weights[0].dtype).removeprefix("torch."),
                "device": _listed(map(str, devices)),
                "device_name": _listed(map(device_name, devices)),
            }

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Leave a truthful record whatever happens; bad input takes away what was made for it, but never results."""
        try:
            yield
        except GenunlearnError as error:
            if isinstance(error, InputError) and self.is_disposable and not self._holds_work():
                self._discard()
                raise
            self.record.status, self.record.error, self.record.finished = FAILED, str(error), now()
            self.save()
            raise
        else:
            self.record.status, self.record.finished = COMPLETED, now()
            self.save()
        finally:
            self._leave()

    def keep(self) -> None:
        """From here on the folder holds work, which stays whatever fails."""
        self.is_disposable = False

    def _holds_work(self) -> bool:
        """Whether anything but the record lies in the folder: a finished stage or unit, a checkpoint, an image."""
        return any(p.is_file() and p.name not in (RECORD_NAME, LOCK_NAME) for p in self.path.rglob("*"))

    def _discard(self) -> None:
        """Take away what this run has made; the lock goes last, so that no other process begins in between."""
        if not self.is_main:
            return
        for found in self.path.iterdir():
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
            elif found.name != LOCK_NAME:
                found.unlink(missing_ok=True)
        self._leave()
        if not self._was_there:
            with suppress(OSError):  # another process has begun in it
                self.path.rmdir()

    def _leave(self) -> None:
        """Let other processes into the folder."""
        if self._lock is not None:
            # While it is held: whoever has opened the file meanwhile sees that it is gone, and makes a new one.
            with suppress(OSError):  # Windows keeps files that are open
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def _begun(self) -> str:
        """When the run that is resumed was begun; empty for a new one."""
        return read_record(self.path).created if self.is_main and not self.is_disposable else ""

    def _open(self, resume: bool) -> bool:
        """Lock the folder, then check it, or make it; returns whether it is new."""
        try:
            self._was_there = self.path.is_dir()
            if self.path.exists() and not self._was_there:
                raise OutputExists(f"--out {self.path} is a file; take another --out")
            self._enter()
            try:
                return self._look_around(resume)
            except BaseException:
                self._leave()
                raise
        except OSError as error:
            if isinstance(error, GenunlearnError):
                raise
            path = str(self.path)[:200]
            raise InputError(f"--out {path} cannot be written: {error.strerror}; take another folder") from None

    def _enter(self) -> None:
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK_NAME)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise OutputExists(
                f"--out {self.path}: another process works in it; wait until it has ended, or take another --out"
            ) from None
        self._lock = lock

    def _look_around(self, resume: bool) -> bool:
        if (self.path / RECORD_NAME).is_file() and resume:
            if ended_run(self.path, self.config) is not None:
                raise OutputExists(f"--out {self.path}: its run has ended; take another folder for a new one")
            known = read_record(self.path).hashes
            if any(known.get(name, sha256) != sha256 for name, sha256 in self._data.items()):
                raise MismatchError(
                    f"--resume {self.path}: the data have changed since that run began; put them back, or take another "
                    "--out"
                )
            return False
        if any(found.name != LOCK_NAME for found in self.path.iterdir()):
            hint = "take another --out" if resume else "take another --out, or --resume an interrupted run"
            raise OutputExists(f"--out {self.path} is not empty; {hint}")
        return True


def ended_run(path: Path, config: RunConfig) -> RunRecord | None:
    """The record of a run of this configuration that has ended in `path`; None where it can be resumed.

    Raises:
        DataError: The record is damaged.
        MismatchError: The folder holds a run of another configuration.
    """
    if not (path / RECORD_NAME).is_file():
        return None
    record = read_record(path)
    if not _is_of(config, record):
        raise MismatchError(f"--resume {path}: the run there has another configuration; use that one, or another --out")
    return record if record.status == COMPLETED else None


def check_beside(configs: Mapping[str, RunConfig], out: Path, *, resume: bool) -> None:
    """Refuse a folder for several runs in which something else lies, before the first of them begins.

    Args:
        configs: The runs by the names of their folders in `out`.
        out: Where they are to lie.
        resume: Whether runs of the same request may lie there already.

    Raises:
        OutputExists: A single run lies in `out`, or anything at all and `resume` is off.
        MismatchError: A run there has another configuration, or another request.
        DataError: The record of one is damaged.
    """
    if (out / RECORD_NAME).is_file():
        raise OutputExists(f"--out {out}: a single run lies there; take another --out for several")
    if not resume and out.is_dir() and any(out.iterdir()):
        raise OutputExists(f"--out {out} is not empty; take another --out, or --resume an interrupted run")
    first = next(iter(configs.values()))
    for place in sorted(path.parent for path in out.glob(f"*/{RECORD_NAME}")):
        if place.name in configs:
            ended_run(place, configs[place.name])
        elif not _is_beside(first, read_record(place)):
            raise MismatchError(f"--resume {out}: {place.name} there is of another request; take another --out")


def _is_beside(config: RunConfig, record: RunRecord) -> bool:
    """Whether a record is of the same model and request, by whatever method."""
    try:
        there = build_config(record.config)
    except InputError:
        return False
    parts = ("task", "domain", "seed", "model", "request")
    return all(getattr(there, part, None) == getattr(config, part, None) for part in parts)


def _is_of(config: RunConfig, record: RunRecord) -> bool:
    """Whether a record is of this configuration; settings that came later have their defaults."""
    if record.hashes.get("config") == config.sha256:
        return True
    try:
        return build_config(record.config) == config
    except InputError:
        return False


def machine(config: RunConfig) -> dict[str, Any]:
    """What the seconds of a record were measured on: device, number format, threads and processes."""
    import torch

    process = this_process()
    settings = getattr(config, "model", None)
    asked = getattr(settings, "device", "auto")
    device = torch.device(str(process.device) if asked == "auto" else asked)
    return {
        "device": _listed([str(device)]),
        "device_name": _listed([device_name(device)]),
        "dtype": getattr(settings, "dtype", "float32"),
        "threads": torch.get_num_threads(),
        "processes": process.num_processes,
    }


def _listed(own: Iterable[str]) -> str:
    """What this process and the others have, each once."""
    return ", ".join(dict.fromkeys(name for names in of_all([*own]) for name in names))


def device_name(device: torch.device) -> str:
    """What the maker calls it."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


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
