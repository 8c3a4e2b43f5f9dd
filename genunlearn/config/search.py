"""A search for a small network: which pictures, which cells, how they are found and taught."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from genunlearn.config.sections import ModelConfig, RunConfig, Section

CELLS = "cells"
"""In place of a model's source: a search makes its own network."""


class SearchRequestConfig(Section):
    """Pictures, and what a network found for them should be able to forget."""

    data: str = "lab:digits"
    """``lab:digits``, ``made:clips``, the CSV file of FER2013, or a folder of classes with pictures or clips."""
    forget: str = "class:3"
    """As in a run that forgets: ``class:3``, ``random:0.1``, ``index:FILE``, ..."""
    size: Annotated[int, Field(ge=8, le=128)] = 32
    """Sides in pixels that pictures from files are brought to."""
    limit: Annotated[int, Field(ge=20)] | None = 400
    """Take only so many training items, drawn by the seed; null takes all."""


class CellsConfig(Section):
    """The search itself."""

    order: Literal["first", "second", "random"] = "first"
    """Of the architecture's gradient; ``random`` draws a cell instead, as a control."""
    cells: Annotated[int, Field(ge=2, le=8)] = 2
    nodes: Annotated[int, Field(ge=1, le=4)] = 2
    """Of each cell; DARTS has 4."""
    channels: Annotated[int, Field(ge=2, le=64)] = 8
    """Of the first cell; each of the two reductions doubles them."""
    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 0.025
    alpha_learning_rate: Annotated[float, Field(gt=0)] = 3e-2
    """Of the architecture; DARTS has 3e-4, for hundreds of times as many steps."""
    forgettability: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the forget-retain gap after some unlearning steps; 0 leaves it out."""


class StepsConfig(Section):
    """The unlearning steps, in the search and on the network that it finds."""

    steps: Annotated[int, Field(ge=1, le=20)] = 3
    learning_rate: Annotated[float, Field(gt=0)] = 0.07


class TeachConfig(Section):
    """How the found network is taught, with and without the forget set."""

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2


class NetworkSearchConfig(RunConfig):
    """A search for a small classifier of pictures."""

    task: Literal["search"] = "search"
    domain: Literal["classifier"] = "classifier"
    model: ModelConfig = ModelConfig(source=CELLS)
    request: SearchRequestConfig = SearchRequestConfig()
    search: CellsConfig = CellsConfig()
    unlearn: StepsConfig = StepsConfig()
    retrain: TeachConfig = TeachConfig()
