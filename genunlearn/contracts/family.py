"""A model family as a run sees it.

`genunlearn.runs.run.Run` carries out every family in the same order: open, measure, check that the model knows what it
is to forget, attack, unlearn, measure, judge the damage, save, attack, measure the oracle, write down. A family says
what each of these means for its models.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from genunlearn.config import AuditConfig, ParametersConfig, UnlearnConfig
from genunlearn.contracts.data import Splits
from genunlearn.contracts.measures import UNLEARNED, Attack, Beside
from genunlearn.contracts.methods import D, Journal, Method, Outcome, Watcher
from genunlearn.contracts.model import Domain
from genunlearn.errors import NeedNotMet
from genunlearn.records import Result

R = TypeVar("R")
"""What a family knows of a request before weights load."""

Measurement = Mapping[str, Any]
"""Plain JSON: ``results`` holds the fields of each `Result`; the rest is the family's own."""


@dataclass(frozen=True)
class Written:
    """What a run has left of its model: hashes for the record, and a remark."""

    hashes: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


class Family(abc.ABC, Generic[R, D]):
    """One model family, bound to one configuration.

    Attributes:
        config: The configuration of the run.
        watch: Tells the person who waits what is being done.
    """

    usual_attacks: ClassVar[tuple[str, ...]] = ()
    """Attacks of a run whose configuration names none."""
    main_metric: ClassVar[str]
    """Metric whose row says why there is no oracle."""

    def __init__(self, config: Any, watch: Watcher) -> None:
        """Bind the family to a configuration of its own class; nothing is read yet."""
        self.config: UnlearnConfig = config
        self.watch = watch

    # ---- before weights load ---------------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def domain(self) -> type[Domain]:
        """The class of its models."""

    @abc.abstractmethod
    def request(self, method: Method) -> R:
        """Read and check what is to be forgotten, and that the models are there.

        Raises:
            InputError: The request, a file or a model cannot be used.
        """

    @abc.abstractmethod
    def given(self, request: R) -> Mapping[str, bool]:
        """What `Method.check` asks about: ``retain`` data, ``facts``, ``whole_classes``, ``full_weights``."""

    @abc.abstractmethod
    def summary(self, request: R) -> str:
        """What is to be forgotten, in a few words."""

    def sha256(self, request: R) -> str | None:
        """Hash of what the request and its files say, by which a run is not taken up for another; None for none."""
        return getattr(request, "sha256", None)

    def cannot_stop(self, request: R) -> str | None:
        """Why ``train.stop_recall`` cannot be honoured; None where `recall` answers."""
        return f"models of domain {self.domain.name!r} have no recall"

    def has_no_floor(self, request: R) -> str | None:
        """Why ``train.utility_floor`` cannot be honoured; None where `utility` answers."""
        return f"the utility of models of domain {self.domain.name!r} is not watched in training"

    def environment(self, request: R) -> AbstractContextManager[None]:
        """Settings of the process under which results are the same everywhere."""
        return nullcontext()

    # ---- models and data -------------------------------------------------------------------------------------

    @abc.abstractmethod
    def open(self, request: R) -> D:
        """The model that is to forget, with its weights."""

    def surround(self, request: R, model: D, journal: Journal) -> R:
        """The request with what only the model can say: its neighbours, its hardest items."""
        return request

    @abc.abstractmethod
    def why_no_oracle(self, request: R) -> str | None:
        """Why there is no model retrained without the forget set; None where there is one."""

    @abc.abstractmethod
    def oracles(self, request: R) -> Sequence[D]:
        """Models that never saw what is to be forgotten; asked for only where there are some."""

    def retraining_seconds(self, request: R) -> float | None:
        """CPU seconds that training an oracle took, where that is known."""
        return None

    @abc.abstractmethod
    def splits(self, request: R, model: D, method: Method) -> Splits[Any]:
        """The data that the method works on."""

    def attacked(self, request: R, beside: Beside[D]) -> Sequence[Splits[Any]]:
        """The data of attacks, one for each thing that is attacked by itself; empty where nothing can be."""
        return ()

    def trained(self, method: Method) -> ParametersConfig:
        """Which weights are trained, where the configuration leaves it to the method."""
        return self.config.parameters

    def base_sha256(self) -> str | None:
        """Hash of the weights of the model that the configuration names, by itself; None where it takes the data."""
        return None

    def controls(self, request: R) -> Path | None:
        """Where runs of the same request share what they find of original and oracles; None for nowhere."""
        return None

    def reopen(self, request: R, folder: Path) -> D:
        """The unlearned model that a run has left in `folder`.

        Raises:
            NeedNotMet: The family cannot.
        """
        raise NeedNotMet(f"models of domain {self.domain.name!r} cannot be opened again from what a run has left")

    # ---- measurement -----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def measure(self, model: D, request: R, target: str, beside: Beside[D]) -> Measurement:
        """Measure one model; the original is the first."""

    def measure_oracles(self, request: R, beside: Beside[D]) -> Measurement:
        """Measure the oracles; the first of them where a family has no way to pool several."""
        return self.measure(beside.oracles[0], request, "oracle", beside)

    @abc.abstractmethod
    def unknown(self, request: R, before: Measurement) -> list[str]:
        """What the original does not know to begin with, each in words."""

    def recall(self, model: D, request: R) -> float:
        """How much of the forget set the model still tells, in [0, 1], measured on what may be trained on."""
        raise NeedNotMet(f"train.stop_recall: {self.cannot_stop(request)}")

    def still_told(self, measured: Measurement) -> str | None:
        """What a model tells that a method took to be gone, in words, from the measurement afterwards; None if nothing.

        The method's own probes are those that it has trained on.
        """
        return None

    def utility(self, model: D, request: R) -> float:
        """How much of what must stay the model still tells, in [0, 1], measured on what may be trained on."""
        raise NeedNotMet(f"train.utility_floor: {self.has_no_floor(request)}")

    @abc.abstractmethod
    def damage(self, request: R, model: D, beside: Beside[D]) -> str | None:
        """What the method has ruined that had to stay, in words, from the measurements of both; None if nothing.

        Raises:
            BrokenModel: What is left is no working model, so that nothing may be saved.
        """

    # ---- what is written -------------------------------------------------------------------------------------

    @abc.abstractmethod
    def describe(self, request: R, model: D) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the record says of the request, and its hashes."""

    @abc.abstractmethod
    def save(self, model: D, method: Method, outcome: Outcome, folder: Path) -> Written:
        """Write what is left of the model into the folder of the run; called on the main process."""

    def examples(self, request: R, measured: Mapping[str, Measurement]) -> list[dict[str, Any]]:
        """Answers or images of the models side by side, for people to look at."""
        return []

    def illustrate(
        self, attacks: Sequence[Attack[Any]], models: Mapping[str, D], splits: Sequence[Splits[Any]], folder: Path
    ) -> list[dict[str, Any]]:
        """Pictures that attacks have found, written into `folder`; called on the main process."""
        return []

    def finish(self, request: R, measured: Mapping[str, Measurement], folder: Path) -> None:
        """Write what belongs beside the record; called on the main process."""


class Audited(Protocol):
    """One thing of an audit: a concept, a fact.

    Attributes:
        label: How reports name it.
        role: ``forget`` for what should be gone, ``retain`` for what should have stayed.
    """

    @property
    def label(self) -> str:
        """How reports name it."""

    @property
    def role(self) -> str:
        """``forget`` or ``retain``."""


S = TypeVar("S", bound=Audited)


class Audit(abc.ABC, Generic[S, D]):
    """What an audit asks of a family; `genunlearn.runs.audit.run.AuditRun` carries it out.

    Every finding is a unit: plain JSON with the number of ``hits`` of ``n`` at each of its ``strengths``, or
    ``skipped`` with the reason, and perhaps images kept beside it.
    """

    counted: ClassVar[str] = "images"
    """What its shares are of."""
    shows: ClassVar[str] = "shows"
    """What a model does with a subject that it knows."""
    panel: ClassVar[Sequence[Sequence[str]]] = ()
    """Kinds of attack without which nothing counts as gone: for each, the names of attacks that are of it."""
    uncontrolled: str = (
        "no oracle, a model that never knew what should be gone, went through the attacks: what they recover then "
        "proves little"
    )
    """What is noted where there is no oracle."""

    def __init__(self, config: Any, watch: Watcher) -> None:
        """Bind the family to a configuration of its own class; nothing is read yet."""
        self.config: AuditConfig = config
        self.watch = watch

    @abc.abstractmethod
    def subjects(self) -> Sequence[S]:
        """What is audited, forgotten things first; refuses models that are not there.

        Raises:
            InputError: The request or a model cannot be used.
        """

    def about(self, subjects: Sequence[S]) -> Sequence[object]:
        """What the request and its files say, each with a complete ``repr``: two audits that differ in it differ."""
        return subjects

    def shared_fields(self, attack: type[Attack[Any]]) -> Mapping[str, Any]:
        """Fields of an attack that follow from the configuration, where its own section does not give them."""
        return {}

    def weights(self) -> Mapping[str, str]:
        """Hashes of the weights of original and oracle, by role, where others may come to lie at the same place."""
        return {}

    @abc.abstractmethod
    def open(self, forgotten: Sequence[str]) -> Mapping[str, D]:
        """The models by name, the original first; without ``oracle`` where there is none.

        Raises:
            MismatchError: They do not belong together, or there is nothing between them to audit.
        """

    @abc.abstractmethod
    def begin(self, models: Mapping[str, D], units: Any, folder: Path) -> None:
        """Take the models, the units that keep images, and the run's folder."""

    def stayed(self) -> list[Result]:
        """What is measured of that which should have stayed, on every model."""
        return []

    def damage(self, target: str = UNLEARNED) -> str | None:
        """What one model has lost of that which should have stayed, in words; None if nothing."""
        return None

    def unguarded(self) -> str | None:
        """Why nobody can say whether what should have stayed did, so that nothing counts as gone; None if somebody."""
        return None

    def remarks(self) -> Sequence[str]:
        """What a reader must know of how the subjects were asked, in words."""
        return ()

    def surrogates(self, subject: S) -> str:
        """What the surrogates are that stand in for an oracle, in words; empty where there is one, or none of these."""
        return ""

    def looks(self) -> Sequence[int]:
        """How many images of each model have been seen after each look; later looks are for what is not decided."""
        return (1,)

    @abc.abstractmethod
    def plain(self, subject: S, target: str, look: int = 0) -> dict[str, Any]:
        """How often one model shows or tells the subject when it is simply asked, in the images of one look."""

    def lacking(self, subject: S, attack: Any) -> str | None:
        """Why an attack cannot be tried on the audited model, and therefore on none; None if it can."""
        return None

    @abc.abstractmethod
    def attempt(self, subject: S, attack: Any, target: str, look: int = 0) -> dict[str, Any]:
        """One attack on one model, for the images of one look."""

    def is_scored(self, attack: Any) -> bool:
        """Whether `scores` are computed from what this attack brings out, also of what should have stayed."""
        return False

    def gather(self, subject: S, attack: Any) -> None:
        """Do what `scores` needs besides, in units of its own, so that processes share it."""

    def scores(self, subject: S, attack: Any) -> list[Result]:
        """Scores of a whole suite, from what an attack has brought out of every model."""
        return []

    def overall(self, results: Sequence[Result]) -> list[Result]:
        """What can be said of all subjects together, from the results of each."""
        return []

    def examples(self, subject: S, attack: str, strengths: Sequence[str]) -> list[dict[str, Any]]:
        """What people should see of one attack: one row a prompt, each model's answer under its name."""
        return []

    @abc.abstractmethod
    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the record says of the request, and its hashes."""

    @abc.abstractmethod
    def forwards(self) -> Mapping[str, int]:
        """Evaluations of each model so far."""
