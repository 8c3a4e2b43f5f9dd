"""Lazy name tables: a name stands for ``module:attribute``, which is imported when it is first asked for.

Adding a method is one line in `METHODS`. Another package adds its own through entry points, without touching
this one::

    [project.entry-points."genunlearn.methods"]
    my_method = "my_package.my_method:MyMethod"

Names are compared without case, hyphens and underscores: ``GradDiff`` and ``grad-diff`` find ``grad_diff``.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from genunlearn.errors import MismatchError, NameNotFound, NeedNotMet

PACKAGE = "genunlearn"
LAB = "lab:"
"""What the source of an embedded model begins with: ``lab:lm`` stands for the line ``lm`` of `LABS`."""
MOST_NAMED = 60
"""More names than these would bury the near matches of an unknown one."""


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        name: The canonical name, as records and reports write it.
        target: Where it is found, ``"package.module:attribute"``.
        owner: The distribution that brought it, for errors that must name one.
    """

    name: str
    target: str
    owner: str

    def __str__(self) -> str:
        return f"{self.name!r} of {self.owner} ({self.target})"


class Table:
    """Names of one kind of thing, and where each is found.

    Plug-ins of the entry-point group ``genunlearn.<kind>s`` are read when the table is first used.
    """

    def __init__(self, kind: str, lines: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = f"{PACKAGE}.{kind}s"
        self._lines: dict[str, Line] = {}
        self._knows_plugins = False
        for name, target in lines.items():
            self._add(Line(name, target, PACKAGE))

    def names(self) -> tuple[str, ...]:
        """Every known name, sorted; nothing is imported."""
        self._read_plugins()
        return tuple(sorted(line.name for line in self._lines.values()))

    def line(self, name: str) -> Line:
        """The line of `name`, with its canonical spelling; nothing is imported.

        Raises:
            NameNotFound: No line has this name; the message carries near matches.
        """
        self._read_plugins()
        found = self._lines.get(_folded(name))
        if found is None:
            raise unknown_name(self.kind, name, self.names())
        return found

    def get(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises:
            NameNotFound: No line has this name, or its line points to an attribute that is not there.
            NeedNotMet: A package that it needs is not installed.
        """
        line = self.line(name)
        module_name, _, attribute = line.target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in ("", PACKAGE):  # a defect of this package, not something a caller can mend
                raise
            raise NeedNotMet(
                f"{self.kind} {line} needs the package {missing!r}, which is not installed: "
                f"install it, or the extra of {line.owner} that brings it"
            ) from error
        if not hasattr(module, attribute):
            raise NameNotFound(
                f"{self.kind} {line}: {module_name} has no {attribute!r}: correct the line that registers it"
            )
        return getattr(module, attribute)

    def register(self, name: str, target: str, *, owner: str | None = None) -> None:
        """Add a line; adding the same line again changes nothing.

        Args:
            name: Name by which it is found from now on.
            target: ``"module:attribute"``; in a notebook the module is ``__main__``.
            owner: Who brings it, for error messages; the target's top-level module if None.

        Raises:
            MismatchError: `target` has another form, or the name is taken by something else.
        """
        self._read_plugins()
        self._add(Line(name, target, owner or target.partition(".")[0].partition(":")[0]))

    def __contains__(self, name: object) -> bool:
        self._read_plugins()
        return isinstance(name, str) and _folded(name) in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"Table({self.kind}: {', '.join(self.names()) or 'empty'})"

    def _add(self, line: Line) -> None:
        module, colon, attribute = line.target.partition(":")
        if not (module and colon and attribute):
            raise MismatchError(f"{self.kind} {line}: the target has to read 'module:attribute'")
        taken = self._lines.setdefault(_folded(line.name), line)
        if taken.target != line.target:
            raise MismatchError(
                f"two {self.kind}s claim one name: {taken} and {line}: rename one, or uninstall its package"
            )

    def _read_plugins(self) -> None:
        if self._knows_plugins:
            return
        for point in entry_points(group=self.group):
            owner = point.dist.name if point.dist else point.module
            self._add(Line(point.name, point.value, owner))
        self._knows_plugins = True


def unknown_name(kind: str, name: str, known: Sequence[str]) -> NameNotFound:
    """The error for a `name` that is not among `known`, with the nearest ones."""
    spelled = {_folded(candidate): candidate for candidate in known}
    near = difflib.get_close_matches(_folded(name), spelled, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(repr(spelled[match]) for match in near)}? " if near else ""
    everything = f"known: {', '.join(known) or 'none'}" if len(known) <= MOST_NAMED else "see genunlearn ls --help"
    return NameNotFound(f"unknown {kind} {name!r}; {hint}{everything}")


def _folded(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


METHODS = Table(
    "method",
    {
        "unstar": "genunlearn.methods.lm.unstar:UnSTAR",
        "grad_ascent": "genunlearn.methods.general.grad_ascent:GradAscent",
        "grad_diff": "genunlearn.methods.general.grad_diff:GradDiff",
        "npo": "genunlearn.methods.lm.npo:NPO",
        "idk_dpo": "genunlearn.methods.lm.idk_dpo:IdkDPO",
        "fine_tune": "genunlearn.methods.general.fine_tune:FineTune",
        "fine_tune_l2": "genunlearn.methods.general.fine_tune_l2:FineTuneL2",
        "neg_grad_plus": "genunlearn.methods.general.neg_grad_plus:NegGradPlus",
        "random_labels": "genunlearn.methods.general.random_labels:RandomLabels",
        "salun_labels": "genunlearn.methods.general.salun:SalUnLabels",
        "ssd": "genunlearn.methods.general.ssd:SSD",
        "amnesiac": "genunlearn.methods.network.amnesiac:Amnesiac",
        "bad_teaching": "genunlearn.methods.network.bad_teaching:BadTeaching",
        "blindspot": "genunlearn.methods.network.blindspot:Blindspot",
        "delete": "genunlearn.methods.general.delete:Delete",
        "emmn": "genunlearn.methods.network.emmn:EMMN",
        "gaussian_amnesiac": "genunlearn.methods.network.gaussian_amnesiac:GaussianAmnesiac",
        "gkt": "genunlearn.methods.network.gkt:GKT",
        "retrain": "genunlearn.methods.network.retrain:Retrain",
        "scrub": "genunlearn.methods.network.scrub:Scrub",
        "unsir": "genunlearn.methods.network.unsir:Unsir",
        "uce": "genunlearn.methods.diffusion.uce:UCE",
        "time": "genunlearn.methods.diffusion.time_edit:TIME",
        "rece": "genunlearn.methods.diffusion.rece:RECE",
        "speed": "genunlearn.methods.diffusion.speed:SPEED",
        "mace": "genunlearn.methods.diffusion.mace:MACE",
        "esd": "genunlearn.methods.diffusion.esd:ESD",
        "sdd": "genunlearn.methods.diffusion.sdd:SDD",
        "concept_ablation": "genunlearn.methods.diffusion.concept_ablation:ConceptAblation",
        "forget_me_not": "genunlearn.methods.diffusion.forget_me_not:ForgetMeNot",
        "salun": "genunlearn.methods.diffusion.salun:SalUn",
        "erase_diff": "genunlearn.methods.diffusion.erase_diff:EraseDiff",
        "selective_amnesia": "genunlearn.methods.diffusion.selective_amnesia:SelectiveAmnesia",
        "spm": "genunlearn.methods.diffusion.spm:SPM",
        "adv_unlearn": "genunlearn.methods.diffusion.adv_unlearn:AdvUnlearn",
        "receler": "genunlearn.methods.diffusion.receler:Receler",
        "sld": "genunlearn.methods.diffusion.sld:SLD",
        "negative_prompt": "genunlearn.methods.diffusion.negative_prompt:NegativePrompt",
    },
)
METRICS = Table(
    "metric",
    {
        "recall": "genunlearn.evaluation.lm.metrics:Recall",
        "leak_rate": "genunlearn.evaluation.lm.metrics:LeakRate",
        "truth_probability": "genunlearn.evaluation.lm.metrics:TruthProbability",
        "extraction_strength": "genunlearn.evaluation.lm.metrics:ExtractionStrength",
        "perplexity": "genunlearn.evaluation.lm.metrics:Perplexity",
        "accuracy": "genunlearn.evaluation.network.metrics:Accuracy",
        "mean_absolute_error": "genunlearn.evaluation.network.metrics:MeanAbsoluteError",
        "mean_squared_error": "genunlearn.evaluation.network.metrics:MeanSquaredError",
        "oracle_gap": "genunlearn.evaluation.network.metrics:OracleGap",
        "tow": "genunlearn.evaluation.network.metrics:ToW",
        "activation_distance": "genunlearn.evaluation.network.metrics:ActivationDistance",
        "wasserstein": "genunlearn.evaluation.network.metrics:Wasserstein",
        "zrf": "genunlearn.evaluation.network.metrics:ZRF",
        "zrf_authors": "genunlearn.evaluation.network.metrics:ZRFAuthors",
        "ua": "genunlearn.evaluation.diffusion.metrics:UnlearningAccuracy",
        "ira": "genunlearn.evaluation.diffusion.metrics:InDomainRetainAccuracy",
        "cra": "genunlearn.evaluation.diffusion.metrics:CrossDomainRetainAccuracy",
        "fid": "genunlearn.evaluation.diffusion.metrics:FrechetDistance",
        "kid": "genunlearn.evaluation.diffusion.metrics:KernelDistance",
        "crs": "genunlearn.evaluation.diffusion.concealment:CRS",
        "ccs": "genunlearn.evaluation.diffusion.concealment:CCS",
        "crs_signed": "genunlearn.evaluation.diffusion.concealment:SignedCRS",
        "ccs_controlled": "genunlearn.evaluation.diffusion.concealment:ControlledCCS",
        "domain_auc": "genunlearn.evaluation.diffusion.concealment:DomainAUC",
        "normalised_leak": "genunlearn.evaluation.diffusion.concealment:NormalisedLeak",
    },
)
ATTACKS = Table(
    "attack",
    {
        "mia_entropy": "genunlearn.attacks.network.membership:EntropyMembership",
        "mia_loss": "genunlearn.attacks.network.membership:LossMembership",
        "mia_matched": "genunlearn.attacks.network.membership:MatchedMembership",
        "rmia": "genunlearn.attacks.network.membership:RMIA",
        "relearning": "genunlearn.attacks.network.relearning:RelearningCurve",
        "anamnesis_index": "genunlearn.attacks.network.anamnesis:AnamnesisIndex",
        "inversion_likeness": "genunlearn.attacks.network.inversion:ModelInversion",
        "partial_diffusion": "genunlearn.attacks.diffusion.partial_diffusion:PartialDiffusion",
        "paraphrase": "genunlearn.attacks.diffusion.paraphrase:Paraphrase",
        "adversarial_embedding": "genunlearn.attacks.diffusion.adversarial_embedding:AdversarialEmbedding",
        "textual_inversion": "genunlearn.attacks.diffusion.textual_inversion:TextualInversion",
        "noise_probing": "genunlearn.attacks.diffusion.noise_probing:NoiseProbing",
        "concept_relearning": "genunlearn.attacks.diffusion.concept_relearning:ConceptRelearning",
        "unrelated_relearning": "genunlearn.attacks.diffusion.concept_relearning:UnrelatedRelearning",
        "unlearn_diff_atk": "genunlearn.attacks.diffusion.unlearn_diff_atk:UnlearnDiffAtk",
        "p4d": "genunlearn.attacks.diffusion.p4d:P4D",
        "ring_a_bell": "genunlearn.attacks.diffusion.ring_a_bell:RingABell",
        "inpainting": "genunlearn.attacks.diffusion.inpainting:Inpainting",
        "latent_guidance": "genunlearn.attacks.diffusion.latent_guidance:LatentGuidance",
        "quantised_reload": "genunlearn.attacks.diffusion.weight_reload:QuantisedReload",
        "lora_removal": "genunlearn.attacks.diffusion.weight_reload:LoraRemoval",
    },
)
DOMAINS = Table(
    "domain",
    {
        "lm": "genunlearn.domains.lm.adapter:LanguageModel",
        "classifier": "genunlearn.domains.network.classifier:Classifier",
        "regression": "genunlearn.domains.network.classifier:Regressor",
        "diffusion": "genunlearn.domains.diffusion.adapter:Diffusion",
    },
)
LABS = Table(
    "lab",
    {
        "lm": "genunlearn.lab.lm.build:build",
        "smollm2": "genunlearn.lab.lm.smollm2:build",
        "diffusion": "genunlearn.lab.diffusion.build:build",
        "digits": "genunlearn.lab.network.digits:build",
        "digits_coarse": "genunlearn.lab.network.digits:build_coarse",
        "diabetes": "genunlearn.lab.network.regression:build_diabetes",
        "tumours": "genunlearn.lab.network.regression:build_tumours",
        "text": "genunlearn.lab.network.text:build",
    },
)
SUITES = Table(
    "suite",
    {
        "facts": "genunlearn.evaluation.lm.metrics:FACTS",
        "facts-quick": "genunlearn.evaluation.lm.metrics:FACTS_QUICK",
        "classifier": "genunlearn.evaluation.network.metrics:CLASSIFIER_SUITE",
        "regression": "genunlearn.evaluation.network.metrics:REGRESSION_SUITE",
        "images": "genunlearn.evaluation.diffusion.metrics:IMAGES",
        "images-quick": "genunlearn.evaluation.diffusion.metrics:IMAGES_QUICK",
        "concealment": "genunlearn.evaluation.diffusion.concealment:CONCEALMENT",
        "concealment-published": "genunlearn.evaluation.diffusion.concealment:CONCEALMENT_PUBLISHED",
    },
)
RUNS = Table(
    "run",
    {
        "lm": "genunlearn.runs.lm.run:FactRun",
        "diffusion": "genunlearn.runs.diffusion.run:ConceptRun",
        "classifier": "genunlearn.runs.network.run:ItemRun",
        "regression": "genunlearn.runs.network.run:ItemRun",
        "audit": "genunlearn.runs.audit.run:AuditRun",
    },
)
REPORTS = Table(
    "report",
    {
        "lm": "genunlearn.reports.lm.reporter:FACTS",
        "diffusion": "genunlearn.reports.diffusion.report:CONCEPTS",
        "classifier": "genunlearn.reports.network.report:ITEMS",
        "regression": "genunlearn.reports.network.report:ITEMS",
        "audit": "genunlearn.reports.audit.report:AUDITS",
    },
)
