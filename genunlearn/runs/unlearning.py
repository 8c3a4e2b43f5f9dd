"""Carrying out a method of any shape, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genunlearn.config import ParametersConfig, UnlearnConfig
from genunlearn.contracts import BestWeights, Domain, Edit, Journal, Method, Objective, Outcome, Protocol, Splits
from genunlearn.domains.sharding import is_sharded, refuse_sharded
from genunlearn.engine import parameters
from genunlearn.engine.batches import derive_seed
from genunlearn.engine.trainer import Trainer
from genunlearn.processes import summed
from genunlearn.runs.folder import RunFolder


@dataclass(frozen=True)
class Stop:
    """When the training of an objective ends, and which of its weights are kept.

    Attributes:
        level: Forget recall at which it ends.
        recall: Measures that of the model as it is.
        floor: Least utility of weights that are kept, as a share of what it was before; None for no floor.
        utility: Measures that.
    """

    level: float
    recall: Callable[[], float]
    floor: float | None
    utility: Callable[[], float]


COLLAPSED = "collapsed"
"""Outcome of a run whose method, or whose retain data, says that the model is ruined."""


def unlearn_in(
    folder: RunFolder,
    config: UnlearnConfig,
    model: Domain,
    trained: ParametersConfig,
    work: Callable[[Trainer], Outcome],
) -> Outcome:
    """Prepare what is trained, do the work, and put into the folder's record what came of it.

    Once a step is done, the folder holds work and stays whatever fails.
    """
    record, watch, before = folder.record, folder.watch, work_done(model)
    worked = time.process_time()  # beside the clock, which also counts what else the machine does
    with folder.phase("unlearn"):
        trainer = Trainer(
            model, config.train, trained, seed=config.seed, state=folder.state, watch=watch, is_reopened=True
        )
        record.parameters = parameters.count(model.network)
        try:
            outcome = work(trainer)
        finally:
            if trainer.steps_done:
                folder.keep()
    record.outcome = COLLAPSED if outcome.details.get("is_collapsed") else outcome.status
    record.rounds = [dict(row) for row in outcome.rounds]
    record.cost |= {
        "steps": trainer.steps_done,
        "unlearning_cpu_seconds": round(time.process_time() - worked, 3),
        "unlearning_work": _more(work_done(model), before),
    }
    record.notes.append(outcome.reason)
    # Whether it is forgotten is for the measurement to say.
    status = "" if record.outcome == "forgotten" else f"{record.outcome.replace('_', ' ')}: "
    watch.announce(f"{status}{outcome.reason}")
    if strength := on_strength(outcome.details):
        record.notes.append(strength)
        watch.announce(strength)
    return outcome


def work_done(model: Domain) -> dict[str, Any]:
    """What a model has been asked to do so far, by all processes; work on sharded weights is that of each of them."""
    counts = model.work_done()
    return counts if is_sharded(model.network) else summed(counts)


def _more(after: Any, before: Any) -> Any:
    """How much numbers have grown, key by key."""
    if isinstance(after, Mapping):
        return {key: _more(value, before[key]) for key, value in after.items()}
    return after - before


def on_strength(details: Mapping[str, Any]) -> str:
    """What an edit that has watched the retain loss says of its strength; nothing where it was not too strong."""
    if "safe_alpha" not in details:
        return ""
    rose = f"the retain loss rose from {details['retain_loss_before']:.3g} by more than method.max_retain_rise"
    if not details["is_collapsed"]:
        return f"{rose}, so it was softened to method.alpha = {details['alpha']:g}"
    if not details["safe_alpha"]:
        return f"{rose}, with every alpha that was tried"
    return f"{rose}; method.alpha = {details['safe_alpha']:g} would have kept it within"


def carry_out(
    method: Method, trainer: Trainer, splits: Splits, journal: Journal, *, seed: int, stop: Stop | None = None
) -> Outcome:
    """Make the trainer's model forget.

    Args:
        method: What is done.
        trainer: The loop, with the model in it.
        splits: What is to go and what is to stay.
        journal: Memory of protocols, and of the checks of objectives.
        seed: Seed of what objectives add to their data.
        stop: Objectives only: when training ends before its last step.
    """
    model: Any = trainer.domain
    if isinstance(method, Protocol):
        return method.run(trainer, model, splits, journal)
    if isinstance(method, Edit):
        refuse_sharded(model.network, f"method {method.name!r}")
        report = method.apply(model, splits)
        reason = f"{len(report.changed)} weight tensors changed"
        return Outcome(status="edited", reason=reason, changed=report.changed, details=report.details)
    assert isinstance(method, Objective)
    prepared = method.prepare(splits, derive_seed(seed, "prepare"))
    if stop is None:
        trainer(method, prepared)
        return Outcome(status="trained", reason=f"all {trainer.steps_done} steps done; no stop level was set")
    return _train_to_level(method, trainer, prepared, journal, stop)


def _train_to_level(objective: Objective, trainer: Trainer, splits: Splits, journal: Journal, stop: Stop) -> Outcome:
    """Train until the forget recall is at most the level at a utility above the floor; the best weights are kept."""
    best = BestWeights(trainer, stop.floor, lambda name: journal.stage(name, stop.utility), unit="step")

    def check(done: int) -> bool:
        best.offer(journal.stage(f"step {done}/recall", stop.recall), done)
        return (best.recall is not None and best.recall <= stop.level) or best.is_stuck

    trainer(objective, splits, check=check)
    best.settle()
    if best.recall is None:
        return Outcome(status="utility_floor", reason=best.summary)
    if best.recall <= stop.level:
        return Outcome(status="forgotten", reason=f"the stop level was reached after {best.at:g} steps")
    reason = f"the stop level was not reached within {trainer.steps_done} steps; {best.summary}"
    return Outcome(status="not_forgotten", reason=reason)
