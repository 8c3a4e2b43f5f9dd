"""Which model it is: a hash of all bytes of all parts, and norms that survive rounding to half precision.

The hash of a pipeline from files is taken from the files and remembered in the user's cache by path, size and times,
so that it costs nothing the second time. A pipeline in memory is hashed as it is handed over.

A patch carries hash, norms and a sample of its base. The hash decides where it agrees; the same model in another
precision has another hash, and its norms and sample agree up to rounding. Patches of before carry the sample alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.domains.diffusion.pipelines import NOT_LOADED, loaded_files, parts_of
from genunlearn.domains.files import read_json
from genunlearn.records import hash_json, write_text
from genunlearn.shipped import cache_root

SAMPLED = 128
"""Values of a fingerprint that are kept in a patch."""
SETTLED_NS = 2_000_000_000
"""A file that was written less than this before it is hashed might be written again within one tick of its clock."""


@dataclass(frozen=True)
class Fingerprint:
    """A few values of every weight tensor, evenly spaced.

    Attributes:
        values: ``(samples,)`` float32, in the order of the parameters; LoRA weights do not count.
    """

    values: Tensor

    @classmethod
    def of(cls, module: nn.Module) -> Fingerprint:
        """Sample four values of each tensor."""
        kept = [p.detach().flatten() for name, p in module.named_parameters() if "lora_" not in name]
        picks = [t[:: max(1, (t.numel() - 1) // 3)][:4].float() for t in kept if t.numel()]
        return cls(torch.cat(picks).cpu())

    @property
    def sha256(self) -> str:
        """Hash of the values."""
        return hashlib.sha256(self.values.numpy().tobytes()).hexdigest()

    def brief(self) -> list[float]:
        """Some of the values, for the header of a patch."""
        step = max(1, len(self.values) // SAMPLED)
        return [float(f"{value:.6g}") for value in self.values[::step][:SAMPLED].tolist()]

    def matches(self, brief: list[float]) -> bool:
        """Whether a header's values are these, up to rounding to half precision."""
        return _close(self.brief(), brief, absolute=1e-4)


@dataclass(frozen=True)
class Identity:
    """What a pipeline was when it was loaded.

    Attributes:
        sample: A few values of the denoiser, which patches of before were checked against.
        norms: The norm of every tensor, by part.
        place: Folder or file that the pipeline was read from, or None.
        content: Hash of a pipeline that has none.
    """

    sample: Fingerprint
    norms: dict[str, list[float]]
    place: Path | None = None
    content: str = field(default="", repr=False)

    @classmethod
    def of(cls, parts: Mapping[str, nn.Module], network: str, source: str) -> Identity:
        """Look at a pipeline as it has been loaded, from `source` or, where that is empty, in memory."""
        content = "" if source else hash_json({name: hash_module(part) for name, part in sorted(parts.items())})
        norms = {name: _norms(part) for name, part in parts.items()}
        return cls(Fingerprint.of(parts[network]), norms, Path(source) if source else None, content)

    @cached_property
    def sha256(self) -> str:
        """Hash of all parts, all bytes."""
        return hash_source(self.place) if self.place else self.content

    def header(self) -> dict[str, Any]:
        """What a patch says of its base."""
        return {"base": self.sample.brief(), "base_sha256": self.sha256, "norms": self.norms}

    def is_base_of(self, header: Mapping[str, Any]) -> bool:
        """Whether a patch with this header was made for this pipeline."""
        if header.get("base_sha256") == self.sha256:
            return True
        if "base_sha256" in header and not header.keys() & {"base", "norms"}:
            return False  # a rule of before, which has nothing else to go by
        if header.get("base") is not None and not self.sample.matches(header["base"]):
            return False
        theirs = header.get("norms", {})
        return all(name not in theirs or _close(own, theirs[name]) for name, own in self.norms.items())


def hash_source(source: Path) -> str:
    """Hash of a pipeline's files: weights and configurations of the parts that are loaded, or a single file."""
    if source.is_file():
        return hash_file(source)
    found: dict[str, Any] = {}
    for part in sorted(parts_of(source).keys() - set(NOT_LOADED)):
        for name in ("config.json", "scheduler_config.json"):
            if (config := source / part / name).is_file():
                found[f"{part}/{name}"] = {k: v for k, v in read_json(config).items() if not k.startswith("_")}
        found[part] = [hash_file(file) for file in loaded_files(source / part)]
    return hash_json(found)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, remembered as long as the file is not touched."""
    path = path.resolve()
    stat = path.stat()
    key = hash_json([str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    kept = cache_root() / "hashes" / key
    with suppress(OSError):
        if kept.is_file():
            return kept.read_text(encoding="utf-8").strip()
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS:
        try:
            write_text(kept, sha256 + "\n")
        except OSError:
            return sha256  # a cache that cannot be written costs time alone
    return sha256


def hash_module(module: nn.Module) -> str:
    """SHA-256 of a module's weights: names, types, shapes and all bytes."""
    return hash_tensors(module.state_dict())


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: names, types, shapes and all bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        octets: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        digest.update(octets)
    return digest.hexdigest()


def _norms(module: nn.Module) -> list[float]:
    """The norm of each parameter, in the order of their names, to six digits."""
    own = sorted((name, p.detach()) for name, p in module.named_parameters() if "lora_" not in name)
    values = [torch.linalg.vector_norm(p, dtype=torch.float32) for _, p in own]
    return [float(f"{value:.6g}") for value in (torch.stack(values).tolist() if values else [])]


def _close(own: Iterable[float], theirs: Iterable[float], absolute: float = 1e-6) -> bool:
    """Whether numbers agree up to rounding to half precision."""
    one, two = (torch.tensor(list(numbers), dtype=torch.float64) for numbers in (own, theirs))
    return one.shape == two.shape and bool(torch.allclose(one, two, rtol=1e-2, atol=absolute))
