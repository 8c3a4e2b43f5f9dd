"""Looking at a pipeline: the images that are asked for, what a judge sees in them, and a few of them to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from genunlearn.config.sections import ImageEvaluateConfig
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.evaluation.diffusion.image_check import ImageCheck
from genunlearn.evaluation.diffusion.metrics import ImageProbes, Judge
from genunlearn.processes import this_process
from genunlearn.records import Result, replacing
from genunlearn.registry import SUITES
from genunlearn.runs.diffusion.request import USUAL, Ask, ConceptRequest, Named
from genunlearn.runs.folder import RunFolder

IMAGES = "images"
SHOWN_FORGOTTEN, SHOWN_KEPT = 6, 10
"""Images of each erased concept, and of what must stay, that are kept for people to look at."""

FORGOTTEN, KEPT = "forget", "preserve"


@dataclass(frozen=True)
class Panel:
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
    def of_lab(cls, folder: str, erased: Sequence[Named]) -> Panel:
        """The lab's judge and its held-out real digits."""
        from genunlearn.lab.diffusion.digit_images import load_digits
        from genunlearn.lab.diffusion.digit_prompts import Concept
        from genunlearn.lab.diffusion.evaluation import real_features
        from genunlearn.lab.diffusion.image_judge import load_judge

        judge = load_judge(folder)
        gone = [Concept(concept.kind, concept.name) for concept in erased]
        return cls(judge, real={"real": real_features(judge, load_digits()[1], gone)})

    @classmethod
    def of_user(cls, judge: str | None, clip: str | None, names: Sequence[str]) -> Panel:
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


class Looks:
    """Measures models on one request; each look is one stage of the run's journal."""

    def __init__(
        self, folder: RunFolder, request: ConceptRequest, settings: ImageEvaluateConfig, panel: Panel, seed: int
    ) -> None:
        self.folder, self.request, self.settings, self.panel, self.seed = folder, request, settings, panel, seed
        self._seen: dict[str, Mapping[str, Any]] = {}

    def at(self, target: str, model: Diffusion) -> Mapping[str, Any]:
        """Measure one model; plain JSON, kept in the journal, with some of its images written beside.

        Args:
            target: ``original`` comes first: others are compared with it.
            model: The pipeline.
        """
        self.folder.watch.announce(f"drawing {sum(map(len, self.request.sets.values()))} images: {target} model")
        with self.folder.phase("evaluate"):
            self._seen[target] = self.folder.journal.stage(f"evaluate/{target}", lambda: self._look(target, model))
        return self._seen[target]

    def broken(self, target: str) -> str | None:
        """What is wrong with the images of a model that was looked at, or None."""
        return self._seen[target]["problem"]

    def _look(self, target: str, model: Diffusion) -> dict[str, Any]:
        results: list[Result] = []
        drawn = {name: self._draw(model, ask) for name, ask in self.request.sets.items()}
        usual = drawn[USUAL]
        check = ImageCheck.against(usual) if target == "original" else ImageCheck(**self._seen["original"]["check"])
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

    def _draw(self, model: Diffusion, ask: Ask) -> Tensor:
        """The images of a set. Processes share its batches in rounds, and every one of them gets all images."""
        settings, process = self.settings, this_process()
        sampling = Sampling(steps=settings.steps, guidance=settings.guidance, batch_size=settings.batch_size)
        first = self.seed * 1_000_000  # another run's seed draws other images
        seeds, parts = [first + seed for seed in ask.seeds], []
        with self.folder.watch.bar("drawing", len(ask)) as advance:
            for start in range(0, len(ask), settings.batch_size * process.num_processes):
                own = start + settings.batch_size * process.process_index
                rows = slice(own, own + settings.batch_size)
                prompts = ask.prompts[rows]
                drawn = gather_object([model.images(prompts, seeds[rows], sampling).cpu()] if prompts else [])
                parts += drawn
                advance(sum(map(len, drawn)))
        return torch.cat(parts)

    def _measure(self, target: str, name: str, images: Tensor) -> list[Result]:
        ask, results = self.request.sets[name], []
        if judge := self.panel.judge:
            probes = ImageProbes(
                images=images,
                asked=ask.asked,
                judge=judge,
                erased=self.request.erased,
                references=self._references(target, name, judge.features(images)),
                prompts=name,
            )
            for metric in SUITES.get(self.settings.suite):
                results += metric().measure(probes, target)
        if clip := self.panel.clip:
            for group, rows in self._groups(ask).items():
                prompts = [ask.prompts[row] for row in rows]
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

        path = self.folder.state / f"original-{name.replace(' ', '-') or 'usual'}.safetensors"
        if target != "original":
            return {**self.panel.real, "original": load_file(path)["features"]}
        named = {row for concept in self.request.erased for row in _rows(self.request.sets[name], concept)}
        others = [row for row in range(len(features)) if row not in named]
        if self.folder.is_main:
            with replacing(path) as temporary:
                save_file({"features": features[others].contiguous()}, temporary)
        return dict(self.panel.real)

    def _groups(self, ask: Ask) -> dict[str, list[int]]:
        groups = {concept.label: _rows(ask, concept) for concept in self.request.erased}
        named = {row for rows in groups.values() for row in rows}
        if others := [row for row in range(len(ask)) if row not in named]:
            groups["others"] = others
        return groups

    # ---- images to keep ----------------------------------------------------------------------------------------

    def _shown(self) -> list[tuple[str, int, str]]:
        """``(set, row, label)`` of the images that are kept: erased concepts first, then others, spread out."""
        places = []
        for name, ask in self.request.sets.items():
            groups = {concept.label: _rows(ask, concept) for concept in self.request.erased}
            places += [(name, row, label) for label, rows in groups.items() for row in _spread(rows, SHOWN_FORGOTTEN)]
        ask = self.request.sets[USUAL]
        others = self._groups(ask).get("others", [])
        return [*places, *((USUAL, row, "") for row in _spread(others, SHOWN_KEPT))]

    def _caption(self, name: str, row: int, label: str) -> dict[str, Any]:
        ask = self.request.sets[name]
        return {
            "group": FORGOTTEN if label else KEPT,
            "concept": label,
            "set": name,
            "prompt": ask.prompts[row],
            "seed": ask.seeds[row],
        }

    def _write(self, target: str, number: int, image: Tensor) -> str:
        from PIL import Image

        path = Path(IMAGES) / target / f"{number:02d}.png"
        if self.folder.is_main:
            place = self.folder.path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = (image.nan_to_num().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(place)
        return path.as_posix()


def target_share(look: Mapping[str, Any], label: str) -> float | None:
    """Share of a concept's images that show it; None where nobody judged."""
    for row in look["results"]:
        if (row["name"], row["group"]) == ("ua", label):
            return None if row["value"] is None else 1 - row["value"]
    return None


def _rows(ask: Ask, concept: Named) -> list[int]:
    return [row for row, name in enumerate(ask.asked[concept.kind]) if name == concept.name]


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly apart."""
    count = min(count, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]
