"""Tasks of lm-evaluation-harness: WMDP, MMLU and whatever else it knows, asked of a model in memory.

Source: Gao et al., "A framework for few-shot language model evaluation" (2024), whose task definitions and prompts
these are; WMDP: Li et al. (ICML 2024). Import it where tasks are asked for: the library is an extra.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from typing_extensions import override

from genunlearn.domains.lm.chat import ChatFormat, Messages
from genunlearn.errors import NameNotFound
from genunlearn.evaluation.lm.benchmark import LONGEST_REPLY
from genunlearn.ops import intervals
from genunlearn.records import Result

NAME, VERSION = "harness_accuracy", 1
LONG = 2048
"""Tokens of a context where the model's configuration does not say."""
ACCURACY, EXACT = "acc,none", "exact_match,none"
"""Numbers of a task that are read, the first that it has: both are shares of its questions."""


def harness_results(
    model: Any, tasks: Sequence[str], target: str, *, folder: str | None = None, limit: int | None = None
) -> list[Result]:
    """The accuracy of a model on each task, and on each part of a group of tasks.

    Args:
        model: A language model.
        tasks: Names as the library has them, such as ``wmdp_bio`` or ``mmlu``.
        target: Which model the results are about.
        folder: Tasks of one's own as YAML, beside those of the library.
        limit: Only the first questions of each task.

    Raises:
        NameNotFound: There is no such task.
    """
    manager = _manager_for(tuple(tasks), folder)
    found = simple_evaluate(
        Asked(model), tasks=list(tasks), task_manager=manager, limit=limit, bootstrap_iters=0, log_samples=False
    )
    counts = found["n-samples"]
    return [
        _result(name, target, row, counts[name]["effective"])
        for name, row in found["results"].items()
        if name in counts
    ]


@cache
def _manager_for(tasks: tuple[str, ...], folder: str | None) -> Any:
    """What knows the tasks: those of the folder, if it has them all, since reading the library's takes long."""
    own = folder and TaskManager(include_path=folder, include_defaults=False)
    manager = own if own and not set(tasks) - set(own.all_tasks) else TaskManager(include_path=folder)
    if unknown := [name for name in tasks if name not in manager.all_tasks]:
        raise NameNotFound(f"evaluate.harness: there is no task {unknown[0]!r}; lm-eval ls tasks lists what there is")
    return manager


def _result(task: str, target: str, row: dict[str, Any], n: int) -> Result:
    """The accuracy on a task; whether more is better depends on the task."""
    value = next((row[name] for name in (ACCURACY, EXACT) if name in row), None)
    blank = Result(name=NAME, group=task, target=target, value=None, version=VERSION)
    if value is None:
        return replace(blank, skipped=f"{task} has neither acc nor exact_match")
    value, low, high = intervals.share(round(value * n), n)
    return replace(blank, value=value, low=low, high=high, n=n)


class PlainChat(ChatFormat):
    """No conversation: the one message is text to go on with."""

    @override
    def prompt_ids(self, messages: Messages) -> list[int]:
        return self._encode(messages[-1]["content"])


class Asked(TemplateLM):
    """A language model of this package as the library asks it."""

    def __init__(self, model: Any) -> None:
        """`model`: a language model, left as it is."""
        super().__init__()
        self._model = model
        self._room = getattr(model.network.config, "max_position_embeddings", None) or LONG

    @property
    @override
    def eot_token_id(self) -> int:
        return self._model.tokenizer.eos_token_id

    @property
    @override
    def prefix_token_id(self) -> int:
        start = self._model.tokenizer.bos_token_id
        return self.eot_token_id if start is None else start

    @override
    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **options: Any) -> list[int]:
        return self._model.tokenizer(string, add_special_tokens=bool(add_special_tokens))["input_ids"]

    @override
    def _loglikelihood_tokens(self, requests: Any, **options: Any) -> list[tuple[float, bool]]:
        pairs = [self._cut(context, told) for _, context, told in requests]
        return [(row.sum().item(), bool(is_best.all())) for row, is_best in self._model.rated(pairs, batch_size=8)]

    @override
    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        found = []
        for (text,) in (request.args for request in requests):
            windows = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self._room - 1, 1)
            found.append(sum(row.sum().item() for row, _ in self._model.rated([*map(make_disjoint_window, windows)])))
        return found

    @override
    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        plain = copy.copy(self._model)
        plain.chat = PlainChat(self._model.tokenizer)
        return [text for request in requests for text in self._written(plain, *request.args)]

    def _written(self, plain: Any, context: str, wanted: dict[str, Any]) -> Iterator[str]:
        stops = wanted.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        most = int(wanted.get("max_gen_toks", LONGEST_REPLY))
        ids = self.tok_encode(context)[-max(1, self._room - most) :]
        asked = [{"role": "user", "content": self._model.tokenizer.decode(ids)}]
        ((text,),) = plain.generate(
            [asked], max_new_tokens=most, until=[lambda said: any(stop in said for stop in stops)]
        )
        yield text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]

    def _cut(self, context: list[int], told: list[int]) -> tuple[list[int], list[int]]:
        """As much of the end of a context as there is room for."""
        told = told[-(self._room - 1) :]
        return context[-(self._room - len(told)) :], told
