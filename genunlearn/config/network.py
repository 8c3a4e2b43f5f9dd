"""A run on a classifier or regressor: which examples are to be forgotten, and what is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from genunlearn.config.sections import EvaluateConfig, ModelConfig, ParametersConfig, RequestConfig, UnlearnConfig


class NetworkRequestConfig(RequestConfig):
    """Which examples a classifier or regressor is to forget."""

    forget: str | None = None
    """``KIND:VALUE``: ``class:3``, ``subclass:4``, ``random:0.1``, ``range:..75``, ``confidence:0.1`` or
    ``influence:100`` (the hardest), ``index:FILE``, ``mask:FILE``; empty where the data has a split ``forget``."""
    data: str | None = None
    """Folder of a data set with the splits ``train`` and ``test``, or ``forget``, ``retain`` and ``test``; lab models
    bring theirs."""
    retain: Literal["all", "none"] = "all"
    """Whether the method is given what must stay; it is measured in either case."""


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
