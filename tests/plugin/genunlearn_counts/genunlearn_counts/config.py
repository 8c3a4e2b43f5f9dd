"""What a run on a table of letters may say."""

from __future__ import annotations

from typing import Literal

from genunlearn.config import EvaluateConfig, MethodConfig, ModelConfig, ParametersConfig, RequestConfig, UnlearnConfig


class CountsRequestConfig(RequestConfig):
    """What is to be forgotten."""

    words: tuple[str, ...] = ()


class CountsEvaluateConfig(EvaluateConfig):
    """What is measured before and after."""

    suite: str = "letters"


class CountsConfig(UnlearnConfig):
    """A run on a table of letters."""

    domain: Literal["bigram"] = "bigram"
    model: ModelConfig = ModelConfig(source="lab:letters")
    method: MethodConfig = MethodConfig(name="uncount")
    parameters: ParametersConfig = ParametersConfig(kind="full")
    request: CountsRequestConfig = CountsRequestConfig()
    evaluate: CountsEvaluateConfig = CountsEvaluateConfig()
