"""Tables of letters as a run sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED, Beside, Method, Outcome, Splits
from genunlearn.contracts.family import Family, Measurement, Written
from genunlearn.domains.sources import resolve_folder
from genunlearn.engine import parameters
from genunlearn.errors import DataError
from genunlearn.ops import intervals
from genunlearn.records import hash_files, hash_json
from genunlearn.registry import LAB, LABS, SUITES
from genunlearn_counts.config import CountsConfig
from genunlearn_counts.lab import WORDS
from genunlearn_counts.metrics import WordProbes
from genunlearn_counts.model import WEIGHTS_NAME, Bigram, Word, as_words


@dataclass(frozen=True)
class CountsRequest:
    """Words to forget, and those of the lab that stay."""

    forget: tuple[Word, ...]
    retain: tuple[Word, ...]

    @property
    def measured(self) -> dict[str, tuple[Word, ...]]:
        """What is looked at, by group."""
        return {"forget": self.forget, "retain": self.retain}


class CountsFamily(Family[CountsRequest, Bigram]):
    """Tables of letters."""

    usual_attacks: ClassVar[tuple[str, ...]] = ("last_letter",)
    main_metric: ClassVar[str] = "known"
    domain = Bigram
    config: CountsConfig

    def request(self, method: Method) -> CountsRequest:
        """The words; the lab's own are what stays."""
        forget = as_words(dict.fromkeys(self.config.request.words))
        if not forget:
            raise DataError("request.words is empty: name at least one word to forget")
        self._folder()
        going = {word.text for word in forget}
        return CountsRequest(forget, as_words(word for word in WORDS if word not in going))

    def given(self, request: CountsRequest) -> Mapping[str, bool]:
        """Words that stay; no facts."""
        return {"retain": bool(request.retain), "facts": False, "full_weights": self.config.parameters.kind == "full"}

    def summary(self, request: CountsRequest) -> str:
        """How many words are to go."""
        return f"{len(request.forget)} words to forget"

    def open(self, request: CountsRequest) -> Bigram:
        """The table of the lab, or one from a folder."""
        return Bigram.load(self._folder())

    def why_no_oracle(self, request: CountsRequest) -> str | None:
        """The lab counts one; nobody knows what another table was counted from."""
        return None if self._is_lab else "only a table of the lab can be counted again"

    def oracles(self, request: CountsRequest) -> Sequence[Bigram]:
        """The table that is counted without the words."""
        return (Bigram.load(self._folder(without=[word.text for word in request.forget])),)

    def splits(self, request: CountsRequest, model: Bigram, method: Method) -> Splits[None]:
        """The words as they are."""
        return Splits(forget=request.forget, retain=request.retain)

    def attacked(self, request: CountsRequest, beside: Beside[Bigram]) -> Sequence[Splits[None]]:
        """All words together."""
        return (Splits(forget=request.forget, retain=request.retain),)

    def measure(self, model: Bigram, request: CountsRequest, target: str, beside: Beside[Bigram]) -> Measurement:
        """Results of the suite, and which words are known."""
        probes = WordProbes(model, request.measured)
        results = SUITES.get(self.config.evaluate.suite, "counts").measure(probes, target)
        return {"results": [asdict(result) for result in results], "known": probes.is_known}

    def unknown(self, request: CountsRequest, before: Measurement) -> list[str]:
        """Words that are no likelier than chance to begin with."""
        known = zip(request.forget, before["known"]["forget"], strict=True)
        return [word.text for word, is_known in known if not is_known]

    def damage(self, request: CountsRequest, model: Bigram, beside: Beside[Bigram]) -> str | None:
        """Words that stay are known far less often."""
        before, after = (beside.measured[target]["known"]["retain"] for target in (ORIGINAL, UNLEARNED))
        level, (now, _, most) = sum(before) / len(before), intervals.share(sum(after), len(after))
        is_ruined = most < level - self.config.evaluate.max_retain_loss
        return f"words that stay are known in {now:.2f}, before in {level:.2f}" if is_ruined else None

    def describe(self, request: CountsRequest, model: Bigram) -> tuple[dict[str, Any], dict[str, Any]]:
        """The words, and hashes of table and request."""
        words = [word.text for word in request.forget]
        said = {"model": self.config.model.source, "words": words, "retain_words": len(request.retain)}
        return said, {"base": model.base_sha256, "request": hash_json(words)}

    def save(self, model: Bigram, method: Method, outcome: Outcome, folder: Path) -> Written:
        """The whole table."""
        parameters.save_whole(model, folder / "model")
        return Written({"model": hash_files([folder / "model" / WEIGHTS_NAME])})

    def examples(self, request: CountsRequest, measured: Mapping[str, Measurement]) -> list[dict[str, Any]]:
        """Each word to forget, and which models know it."""
        models = [target for target in (ORIGINAL, UNLEARNED, ORACLE) if target in measured]
        return [
            {"word": word.text, **{target: _answer(measured[target], place) for target in models}}
            for place, word in enumerate(request.forget)
        ]

    @property
    def _is_lab(self) -> bool:
        return self.config.model.source.startswith(LAB)

    def _folder(self, without: Sequence[str] = ()) -> Path:
        source = self.config.model.source
        if not self._is_lab:
            return resolve_folder(source, self.config.model.revision)
        folder: Path = LABS.get(source.removeprefix(LAB), "counts")(without=list(without))
        return folder


def _answer(measured: Measurement, place: int) -> str:
    return "known" if measured["known"]["forget"][place] else "unknown"
