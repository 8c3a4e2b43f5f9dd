"""Measuring a pipeline: the images that are asked for, what a judge sees in them, and a few of them to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from genunlearn.config.diffusion import DiffusionEvaluateConfig
from genunlearn.contracts.methods import Watcher
from genunlearn.data.diffusion.requests import USUAL, ErasedConcept, ErasureRequest, PromptSet
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.evaluation.diffusion.image_check import ImageCheck
from genunlearn.evaluation.diffusion.metrics import ImageProbes, Judge
from genunlearn.ops.images import write_png
from genunlearn.processes import this_process
from genunlearn.records import Result, replacing
from genunlearn.registry import SUITES
from genunlearn.runs.folder import STATE

IMAGES = "images"
SHOWN_FORGOTTEN, SHOWN_KEPT = 6, 10
"""Images of each erased concept, and of what must stay, that are kept for people to look at."""

FORGOTTEN, KEPT = "forget", "preserve"


@dataclass(frozen=True)
class Judges:
    """Who says what images show.

    Attributes:
        judge: Tells concepts apart; None where there is none.
        clip: Scores images against prompts; None where there is none.
        real: Features of real images, by set of prompts the same, for distances.
    """

    judge: Judge | None
    clip: Any = None
    real: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_lab(cls, folder: str, erased: Sequence[ErasedConcept]) -> Judges:
        """The lab's judge and its held-out real digits."""
        from genunlearn.lab.diffusion.digit_images import load_digits
        from genunlearn.lab.diffusion.digit_prompts import Concept
        from genunlearn.lab.diffusion.evaluation import real_features
        from genunlearn.lab.diffusion.image_judge import load_judge

        judge = load_judge(folder)
        gone = [Concept(concept.kind, concept.name) for concept in erased]
        return cls(judge, real={"real": real_features(judge, load_digits()[1], gone)})

    @classmethod
    def of_user(cls, judge: str | None, clip: str | None, names: Sequence[str]) -> Judges:
        """A user's own classifier and CLIP model, as far as they are named.

        Raises:
            SourceNotFound: One of them is not there.
            DataError: The classifier knows no label for one of `names`.
        """
        from genunlearn.evaluation.diffusion.clip import ClipScorer
        from genunlearn.evaluation.diffusion.folder_judge import FolderJudge

        return cls(
            FolderJudge.load(judge, names) if judge else None, ClipScorer.from_pretrained(clip) if clip else None
        )


class ImageProbe:
    """Measures pipelines on one request: the images that are asked for, and what judges see in them.

    Attributes:
        folder: Folder of the run, for images that are shown and features that others are compared with.
    """

    def __init__(
        self,
        request: ErasureRequest,
        settings: DiffusionEvaluateConfig,
        judges: Judges,
        *,
        folder: Path,
        watch: Watcher,
        seed: int,
    ) -> None:
        self.request, self.settings, self.judges, self.seed = request, settings, judges, seed
        self.folder, self.watch = folder, watch

    def measure(self, target: str, model: Diffusion, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """Measure one model; plain JSON, with some of its images written beside.

        Args:
            target: ``original`` comes first: others are compared with it.
            model: The pipeline.
            before: What was measured of the original; None for the original itself.
        """
        self.watch.announce(f"drawing {sum(map(len, self.request.sets.values()))} images: {target} model")
        results: list[Result] = []
        drawn = {name: self._draw(model, asked) for name, asked in self.request.sets.items()}
        usual = drawn[USUAL]
        check = ImageCheck.against(usual) if before is None else ImageCheck(**before["check"])
        problem = check(usual)
        if not problem:
            for name, images in drawn.items():
                results += self._measure(target, name, images)
        shown = self._shown()
        return {
            "results": [asdict(result) for result in results],
            "check": asdict(check),
            "problem": problem,
            "shown": [self._caption(*place) for place in shown],
            "files": [self._write(target, n, drawn[name][row]) for n, (name, row, _) in enumerate(shown)],
        }

    def _draw(self, model: Diffusion, asked: PromptSet) -> Tensor:
        """The images of a set. Processes share its batches in rounds, and every one of them gets all images."""
        settings, process = self.settings, this_process()
        sampling = Sampling(steps=settings.steps, guidance=settings.guidance, batch_size=settings.batch_size)
        first = self.seed * 1_000_000  # another run's seed draws other images
        seeds, parts = [first + seed for seed in asked.seeds], []
        with self.watch.bar("drawing", len(asked)) as advance:
            for start in range(0, len(asked), settings.batch_size * process.num_processes):
                own = start + settings.batch_size * process.process_index
                rows = slice(own, own + settings.batch_size)
                prompts = asked.prompts[rows]
                drawn = gather_object([model.images(prompts, seeds[rows], sampling).cpu()] if prompts else [])
                parts += drawn
                advance(sum(map(len, drawn)))
        return torch.cat(parts)

    def _measure(self, target: str, name: str, images: Tensor) -> list[Result]:
        asked, results = self.request.sets[name], []
        if judge := self.judges.judge:
            probes = ImageProbes(
                images=images,
                asked=asked.asked,
                judge=judge,
                erased=self.request.erased,
                references=self._references(target, name, judge.features(images)),
                prompts=name,
            )
            results += SUITES.get(self.settings.suite, "diffusion").measure(probes, target)
        if clip := self.judges.clip:
            for group, rows in self._groups(asked).items():
                prompts = [asked.prompts[row] for row in rows]
                results.append(clip.result(images[rows], prompts, target, f"{group}, {name}" if name else group))
        if not results:
            reason = "no judge: name a classifier in evaluate.judge or a CLIP model in evaluate.clip"
            results += [
                Result(name="ua", target=target, group=concept.label, value=None, skipped=reason)
                for concept in self.request.erased
            ]
        return results

    def _references(self, target: str, name: str, features: Tensor) -> dict[str, Tensor]:
        """What distances are taken from: real images, and for other models the original's."""
        from safetensors.torch import load_file, save_file

        path = self.folder / STATE / f"original-{name.replace(' ', '-') or 'usual'}.safetensors"
        if target != "original":
            return {**self.judges.real, "original": load_file(path)["features"]}
        named = {row for concept in self.request.erased for row in self.request.sets[name].rows(concept)}
        others = [row for row in range(len(features)) if row not in named]
        if this_process().is_main_process:
            with replacing(path) as temporary:
                save_file({"features": features[others].contiguous()}, temporary)
        return dict(self.judges.real)

    def _groups(self, asked: PromptSet) -> dict[str, list[int]]:
        groups = {concept.label: asked.rows(concept) for concept in self.request.erased}
        named = {row for rows in groups.values() for row in rows}
        if others := [row for row in range(len(asked)) if row not in named]:
            groups["others"] = others
        return groups

    # ---- images to keep ----------------------------------------------------------------------------------------

    def _shown(self) -> list[tuple[str, int, str]]:
        """``(set, row, label)`` of the images that are kept: erased concepts first, then others, spread out."""
        places = []
        for name, asked in self.request.sets.items():
            groups = {concept.label: asked.rows(concept) for concept in self.request.erased}
            places += [(name, row, label) for label, rows in groups.items() for row in _spread(rows, SHOWN_FORGOTTEN)]
        asked = self.request.sets[USUAL]
        others = self._groups(asked).get("others", [])
        return [*places, *((USUAL, row, "") for row in _spread(others, SHOWN_KEPT))]

    def _caption(self, name: str, row: int, label: str) -> dict[str, Any]:
        asked = self.request.sets[name]
        return {
            "group": FORGOTTEN if label else KEPT,
            "concept": label,
            "set": name,
            "prompt": asked.prompts[row],
            "seed": asked.seeds[row],
        }

    def _write(self, target: str, number: int, image: Tensor) -> str:
        path = Path(IMAGES) / target / f"{number:02d}.png"
        if this_process().is_main_process:
            write_png(image, self.folder / path)
        return path.as_posix()


def target_share(measured: Mapping[str, Any], label: str) -> float | None:
    """Share of a concept's images that show it; None where nobody judged."""
    for row in measured["results"]:
        if (row["name"], row["group"]) == ("ua", label):
            return None if row["value"] is None else 1 - row["value"]
    return None


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly apart."""
    count = min(count, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]
