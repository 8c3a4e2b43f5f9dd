"""A run on a classifier or regressor: which examples are to be forgotten, and what is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from genunlearn.config.sections import (
    EvaluateConfig,
    MethodConfig,
    ModelConfig,
    ParametersConfig,
    RequestConfig,
    Section,
    SyntheticConfig,
    UnlearnConfig,
    ValueConfig,
)


class NetworkRequestConfig(RequestConfig):
    """Which examples a classifier or regressor is to forget."""

    forget: str | None = None
    """``KIND:VALUE``: ``class:3``, ``subclass:4``, ``random:0.1``, ``range:..75``, ``confidence:0.1`` or
    ``influence:100`` (the hardest), ``index:FILE``, ``mask:FILE``; empty where the data has a split ``forget``."""
    data: str | None = None
    """Folder of a data set with the splits ``train`` and ``test``, or ``forget``, ``retain`` and ``test``; lab models
    bring theirs."""
    retain: Literal["all", "none", "synthetic"] = "all"
    """Whether the method is given what must stay, or rows of `generator` in its place (tables only); the real items are
    measured in every case."""
    generator: MethodConfig = MethodConfig(name="gaussian_copula")
    """What makes synthetic retain rows: a ``name`` (``genunlearn ls generators``) and its hyper-parameters."""


class NetworkEvaluateConfig(EvaluateConfig):
    """What is measured on a classifier or regressor, before and after."""

    suite: str = "auto"
    """``auto`` is the one of the domain."""
    oracles: Annotated[int, Field(ge=0, le=3)] = 3
    """Models of the lab that are retrained without the forget set, one a seed."""
    oracle_folders: tuple[str, ...] = ()
    """Models from elsewhere that never saw the forget set."""
    max_retain_loss: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Loss of retain accuracy that counts as a collapse; for regressors the rise of the mean absolute error, as a share
    of the targets' standard deviation."""
    batch_size: Annotated[int, Field(ge=1)] = 256


class NetworkConfig(UnlearnConfig):
    """A run on a classifier or a regressor."""

    domain: Literal["classifier", "regression"] = "classifier"
    model: ModelConfig = ModelConfig(source="lab:digits")
    parameters: ParametersConfig = ParametersConfig(kind="full")
    request: NetworkRequestConfig = NetworkRequestConfig()
    evaluate: NetworkEvaluateConfig = NetworkEvaluateConfig()


class FederationConfig(Section):
    """Clients that teach one network together, and how."""

    clients: Annotated[int, Field(ge=2, le=1000)] = 10
    concentration: Annotated[float, Field(gt=0)] = 0.5
    """Of the Dirichlet distribution of each class over clients: the smaller, the more they differ."""
    rounds: Annotated[int, Field(ge=1)] = 12
    epochs: Annotated[int, Field(ge=1)] = 2
    """Passes of a client over its items in a round."""
    learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    batch_size: Annotated[int, Field(ge=2)] = 32
    weighting: Literal["examples", "equal"] = "examples"
    """Whether a client counts by its items in the mean, or each the same."""
    width: Annotated[int, Field(ge=1)] = 16
    """Channels of the network's first layer."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of its items that a client keeps to itself: unseen items that are spread over classes as its own are."""
    keep_every: Annotated[int, Field(ge=0)] = 0
    """Every which round the server keeps whole, for FedEraser; 0 keeps none."""
    engine: Literal["in_process", "flower"] = "in_process"
    """``flower`` runs Flower's simulation (extra ``federated``); the weights are the same."""


class BackdoorConfig(Section):
    """What the clients that are to go teach besides, so that their contribution can be seen."""

    trigger: Literal["visible", "released_corner", "released_center", "none"] = "visible"
    """``released_corner`` and ``released_center`` are what ConDa's code paints; ``none`` leaves it out."""
    size: Annotated[int, Field(ge=1)] = 2
    """Side of the patch in pixels."""
    label: Annotated[int, Field(ge=0)] = 0
    """Class that pictures with the patch are taught to be."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the client's items, how many it teaches again with the patch on them."""


class FederatedRequestConfig(NetworkRequestConfig):
    """Which clients a federation is to forget."""

    forget: str | None = None
    """``client:0``, ``client:0,3``: clients are numbered from 0."""
    data: str | None = "lab:digits"
    """``lab:digits``, or an ``.npz`` file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``."""
    limit: Annotated[int, Field(ge=100)] | None = None
    """Take at most so many items for training, and as many for tests, drawn by the seed."""


class FederatedEvaluateConfig(NetworkEvaluateConfig):
    """What is measured on a federation's network."""

    suite: str = "classifier"


class FederatedConfig(NetworkConfig):
    """A run on a classifier that clients have taught together."""

    task: Literal["federated"] = "federated"
    domain: Literal["federated"] = "federated"  # type: ignore[assignment]  # a federation has no other models
    model: ModelConfig = ModelConfig(source="lab:federated")
    federation: FederationConfig = FederationConfig()
    backdoor: BackdoorConfig = BackdoorConfig()
    request: FederatedRequestConfig = FederatedRequestConfig()
    evaluate: FederatedEvaluateConfig = FederatedEvaluateConfig()

    @property
    def protocol(self) -> str:
        """Line of `FAMILIES`: that of federations."""
        return "federated"


class ValueRequestConfig(Section):
    """Which data are valued, and what is asked about them."""

    data: str | None = None
    """``lab:NAME``, ``sklearn:NAME`` for a data set that scikit-learn brings, or a folder with the splits ``train``
    and ``test``; a lab model brings its own."""
    requests: tuple[str, ...] = ()
    """Sets whose cost is asked: ``class:3``, ``random:0.1``, ``index:FILE``, ... as in a run that forgets them."""
    level: Literal["items", "clusters", "requests"] = "items"
    """Who is a player: each item, clusters within a class, or the requests beside all other items."""
    limit: Annotated[int, Field(ge=10)] | None = None
    """Value only so many training items, drawn by the seed."""
    unlearned: str | None = None
    """Folder of a run that forgot some of these data: is what it forgot worth nothing now?"""


class ValueEvaluateConfig(Section):
    """How trainings are scored, and what is measured with the values."""

    score: Literal["accuracy", "probability"] = "probability"
    """Of a classifier: the share of right classes, or the mean probability of the right class, which is smoother."""
    curves: Annotated[int, Field(ge=0)] = 5
    """Points of the curves of removal by value, each three trainings; 0 leaves them out."""
    repair: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.02, 0.05, 0.1, 0.2, 0.5, 0.75)
    """Shares of the retain data that are tried for repair, four trainings each and request; none leaves it out."""
    repair_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """How far below all retain data the score of a subset may be that is enough."""


class ValueFitConfig(Section):
    """How a network from a folder is taught anew; scikit-learn and lab models have their own ways."""

    epochs: Annotated[int, Field(ge=1)] = 10
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Annotated[int, Field(ge=1)] = 64


class NetworkValueConfig(ValueConfig):
    """What training items are worth to a classifier or regressor."""

    domain: Literal["classifier", "regression"] = "classifier"
    model: ModelConfig = ModelConfig(source="sklearn:linear")
    fit: ValueFitConfig = ValueFitConfig()
    request: ValueRequestConfig = ValueRequestConfig(data="lab:digits")
    evaluate: ValueEvaluateConfig = ValueEvaluateConfig()


class SyntheticRequestConfig(Section):
    """Which table, and which of its rows are to be forgotten."""

    data: str | None = None
    """``sklearn:NAME`` for a table that scikit-learn brings, or a file: CSV, JSON lines or Parquet."""
    target: str | None = None
    """Column that is predicted from the others; by default the one called target, label, class or y."""
    drop: tuple[str, ...] = ()
    """Columns that are left out, such as identifiers."""
    categories: tuple[str, ...] = ()
    """Columns that are categories although they hold numbers."""
    forget: str = "random:0.1"
    """Rows that are to be forgotten: ``random:0.1``, ``class:NAME``, ``range:..75``, ``index:FILE``, ``mask:FILE``; row
    numbers count rows that were not held out, in the order of the file."""
    limit: Annotated[int, Field(ge=50)] = 5000
    """Rows of the table that are used, drawn by the seed where there are more."""


class SyntheticEvaluateConfig(Section):
    """How synthetic rows are measured."""

    held_out: Annotated[float, Field(ge=0.05, le=0.5)] = 0.25
    """Share of the rows that no generator sees."""
    draws: Annotated[int, Field(ge=1, le=100)] = 3
    """Tables that each generator makes, each after learning anew: intervals are over them."""


class NetworkSyntheticConfig(SyntheticConfig):
    """How good a table of synthetic rows is, and what it tells of forgotten ones."""

    domain: Literal["classifier", "regression"] = "classifier"
    """Whether the target is a class or a number."""
    request: SyntheticRequestConfig = SyntheticRequestConfig(data="sklearn:wine")
    evaluate: SyntheticEvaluateConfig = SyntheticEvaluateConfig()
