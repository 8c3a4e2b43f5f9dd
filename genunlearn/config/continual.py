"""A run of a learner of tasks: the stream of requests, how tasks are trained, and what is measured after each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from genunlearn.config.sections import MethodConfig, ModelConfig, RunConfig, Section, TrainConfig


class ContinualTrainConfig(Section):
    """How one request is trained."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Annotated[int, Field(ge=2)] = 32
    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the items of the request."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    save_every: Annotated[int, Field(ge=1)] = 50
    """A killed run loses at most this many steps."""

    def loop(self, items: int) -> TrainConfig:
        """The settings of the loop for a request of so many items."""
        steps = self.epochs * max(1, -(-items // self.batch_size))
        return TrainConfig(max_steps=steps, **self.model_dump(exclude={"epochs"}))


class ContinualRequestConfig(Section):
    """The data, its tasks, and the stream."""

    data: str | None = None
    """A folder with the splits ``train`` and ``test``, or a file ``.npz`` with ``x_train``, ``y_train``, ``x_test`` and
    ``y_test``, such as MNIST's; a lab model brings its own where nothing is named."""
    tasks: Annotated[int, Field(ge=1)] | tuple[tuple[int, ...], ...] = 5
    """How many tasks of equally many classes, or the classes of each."""
    stream: tuple[str, ...] = ()
    """``learn:0``, ``forget:class:1``, ``forget:task:0``, ``forget:random:0.1``, ``forget:index:FILE``, ..."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """So many training items of each class, the first ones."""


class ContinualEvaluateConfig(Section):
    """What is measured after every request."""

    oracles: Annotated[int, Field(ge=0, le=5)] = 1
    """Learners, one a seed, that go through the stream without what is forgotten."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """*Forgotten* asks that no set is told more often than by the oracle by this much."""
    max_retain_loss: Annotated[float, Field(gt=0, le=1)] = 0.25
    """How far below the oracle the accuracy on what must be known may be before it counts as a collapse."""


class ContinualConfig(RunConfig):
    """A learner of tasks that forgets on request."""

    task: Literal["continual"] = "continual"
    domain: Literal["classifier"] = "classifier"
    model: ModelConfig = ModelConfig(source="lab:digits")
    """The architecture; its weights are drawn anew by the seed."""
    method: MethodConfig = MethodConfig(name="uniclun")
    unlearn: MethodConfig | None = None
    """How requests to forget are met; by default by the learner's own loss, and by ``bad_teaching`` where it has
    none."""
    train: ContinualTrainConfig = ContinualTrainConfig()
    forget_train: ContinualTrainConfig = ContinualTrainConfig()
    request: ContinualRequestConfig = ContinualRequestConfig()
    evaluate: ContinualEvaluateConfig = ContinualEvaluateConfig()
