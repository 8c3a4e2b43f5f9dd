"""Any scikit-learn estimator as a learner; a few are known by name, with settings that need no thought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genunlearn.errors import DataError
from genunlearn.registry import unknown_name
from genunlearn.valuation.game import Floats, Rows


class EstimatorLearner:
    """A scikit-learn estimator on standardised inputs, fitted anew each time.

    Attributes:
        targets: Classes by their number among `names`, or numbers to predict.
        valid_targets: Of the validation items.
        classes: How many there are; 0 for a regressor.
        names: The classes as the data spells them.
    """

    def __init__(self, estimator: Any, train: tuple[Any, Any], valid: tuple[Any, Any]) -> None:
        """Take an estimator, which stays as it is, and pairs of inputs ``(items, ...)`` and targets ``(items,)``.

        Raises:
            DataError: Inputs and targets do not go together, or some are no numbers or not finite.
        """
        from sklearn.base import is_classifier

        self._estimator, self._is_classifier = estimator, bool(is_classifier(estimator))
        inputs, targets = _flat("train", train)
        others, valid_targets = _flat("valid", valid)
        if inputs.shape[1] != others.shape[1]:
            raise DataError(f"train has {inputs.shape[1]} columns and valid {others.shape[1]}: give the same ones")
        spread = inputs.std(0)
        spread[spread == 0] = 1.0
        self.targets: NDArray[Any]
        self.valid_targets: NDArray[Any]
        self._train, self._valid = (inputs - inputs.mean(0)) / spread, (others - inputs.mean(0)) / spread
        if not self._is_classifier:
            self.names, self.classes = np.zeros(0), 0
            self.targets, self.valid_targets = _numbers("train", targets), _numbers("valid", valid_targets)
            return
        kinds = {type(one) for one in (*targets.tolist(), *valid_targets.tolist())}
        if len(kinds) > 1:
            told = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise DataError(f"targets of several types ({told}): give classes of one, numbers or texts, and no blanks")
        self.names = np.unique(targets)
        self.classes = len(self.names)
        if len(unknown := np.setdiff1d(valid_targets, self.names)):
            raise DataError(f"class {unknown[0]} is in valid and not in train: nothing could learn it")
        if self.classes < 2:
            raise DataError(f"train holds one class, {self.names[0]}: a classifier needs two")
        self.targets = np.searchsorted(self.names, targets)
        self.valid_targets = np.searchsorted(self.names, valid_targets)

    def embed(self) -> tuple[Floats, Floats]:
        """The standardised inputs."""
        return self._train, self._valid

    def answer(self, rows: Rows, asked: Rows, *, with_valid: bool = False) -> tuple[Floats, Floats]:
        """Fit a clone; one class or one item alone is answered with itself.

        Raises:
            DataError: The estimator cannot learn from these items, or is asked about others than it has seen.
        """
        from sklearn.base import clone

        inputs, targets = self._train[rows], self.targets[rows]
        if with_valid:
            inputs = np.concatenate([inputs, self._valid])
            targets = np.concatenate([targets, self.valid_targets])
        known = np.unique(targets)
        if len(known) == 1:
            return self._constant(known[0], len(self._valid)), self._constant(known[0], len(asked))
        try:
            fitted = clone(self._estimator).fit(inputs, targets)
            return self._ask(fitted, self._valid), self._ask(fitted, self._train[asked])
        except ValueError as error:  # what scikit-learn raises where items do not suit an estimator
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{type(self._estimator).__name__} cannot learn from {len(inputs)} of the items, standardised: "
                f"{reason}; take another learner, or knn_shapley or lava, which train none"
            ) from error

    def _ask(self, fitted: Any, inputs: Floats) -> Floats:
        if not len(inputs):
            return np.zeros((0, self.classes) if self._is_classifier else 0)
        if not self._is_classifier:
            return np.asarray(fitted.predict(inputs), dtype=np.float64)
        answers = np.zeros((len(inputs), self.classes))
        if callable(ask := getattr(fitted, "predict_proba", None)):
            answers[:, fitted.classes_] = ask(inputs)
        else:
            answers[np.arange(len(inputs)), fitted.predict(inputs)] = 1.0
        return answers

    def _constant(self, target: Any, count: int) -> Floats:
        if not self._is_classifier:
            return np.full(count, float(target))
        answers = np.zeros((count, self.classes))
        answers[:, int(target)] = 1.0
        return answers


def _flat(name: str, pair: tuple[Any, Any]) -> tuple[Floats, NDArray[Any]]:
    """Inputs as a matrix beside their targets."""
    if len(pair) != 2:
        raise DataError(f"{name} holds {len(pair)} parts: give (inputs, targets)")
    table, found = _numbers(name, pair[0]), np.asarray(pair[1])
    if found.ndim != 1 or len(table) != len(found) or not len(found):
        raise DataError(f"{name}: inputs of shape {table.shape} and targets of {found.shape}: give one target an item")
    if not np.isfinite(table).all() or (found.dtype.kind == "f" and not np.isfinite(found).all()):
        raise DataError(f"{name} holds NaN or infinity: remove the row or fill it in")
    return table.reshape(len(table), -1), found


def _numbers(name: str, values: Any) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name} is no table of numbers ({reason}): encode texts, and give a dense array") from error


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.1, max_iter=200, tol=1e-2)


def _ridge() -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=10.0)


def _forest(is_regression: bool) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    return (RandomForestRegressor if is_regression else RandomForestClassifier)(n_estimators=50, random_state=0)


def _neighbours(is_regression: bool) -> Any:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    return (KNeighborsRegressor if is_regression else KNeighborsClassifier)(n_neighbors=1)


ESTIMATORS: Mapping[str, Callable[[bool], Any]] = {
    "linear": lambda is_regression: _ridge() if is_regression else _logistic(),
    "forest": _forest,
    "neighbour": _neighbours,
}
"""By name: makes an estimator, of numbers or of classes."""


def estimator(name: str, *, is_regression: bool) -> Any:
    """The scikit-learn estimator of a name, not fitted.

    Raises:
        NameNotFound: There is none of that name.
    """
    if name not in ESTIMATORS:
        raise unknown_name("estimator of scikit-learn", name, sorted(ESTIMATORS))
    return ESTIMATORS[name](is_regression)
