"""A run on a recommender: whose interactions are to be forgotten, and what is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from genunlearn.config.sections import EvaluateConfig, ModelConfig, ParametersConfig, RequestConfig, UnlearnConfig


class RecommenderRequestConfig(RequestConfig):
    """What a recommender is to forget."""

    forget: str | None = None
    """``KIND:VALUE``: ``users:0.05``, ``items:0.05``, ``pairs:0.05`` (a share, drawn by the seed); ``users:u3,u7``,
    ``items:i12``, ``pairs:u3/i12`` (names); ``users:@FILE`` (a name, or a user and an item, a line)."""
    data: str | None = None
    """Folder in MMRec's format or with MovieLens's files that the model was trained on; lab models bring theirs."""
    retain: Literal["all", "none"] = "all"
    """Whether the method is given what must stay; it is measured in either case."""


class RecommenderEvaluateConfig(EvaluateConfig):
    """What is measured on a recommender, before and after."""

    suite: str = "ranking"
    oracles: Annotated[int, Field(ge=0, le=3)] = 3
    """Models of the lab that are retrained without the forget set, one a seed."""
    oracle_folders: tuple[str, ...] = ()
    """Models from elsewhere that never saw the forget set."""
    max_retain_loss: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Loss of Recall@20 on the validation interactions that counts as a collapse, as a share of the original's."""
    batch_size: Annotated[int, Field(ge=1)] = 512
    """Users that are ranked at once."""


class RecommenderConfig(UnlearnConfig):
    """A run on a recommender."""

    domain: Literal["recommender"] = "recommender"
    model: ModelConfig = ModelConfig(source="lab:recommender")
    parameters: ParametersConfig = ParametersConfig(kind="full")
    request: RecommenderRequestConfig = RecommenderRequestConfig()
    evaluate: RecommenderEvaluateConfig = RecommenderEvaluateConfig()
