"""TabSynDex: how good a synthetic table is, as the mean of five parts between 0 and 1, each of which is shown.

    basic    1 - mean over columns of |m_r - m_s| / sd_r for mean and median, |sd_r - sd_s| / sd_r, and the difference
             of the shares of blanks; of categories the total variation distance; each at most 1
    corr     1 - mean over pairs of columns of min(|a_r - a_s|, 1), a the association (`associations`)
    ml       1 - mean over four estimators of what is lost on held-out real rows by learning from synthetic ones: of
             the accuracy as a share of it, of numbers the rise of the root mean squared error over the spread
    pmse     1.2^-(max(rho, 1) - 1), rho = pMSE / E[pMSE], pMSE = mean (p - c)^2 of a logistic regression that tells
             synthetic (share c) from real rows, E[pMSE] = (k - 1) (1 - c)^2 c / N for k coefficients and N rows
    support  mean over columns of the covered share: the mean over categories, or 20 equal bins, with real rows of
             min(share_s / share_r, 1), times the share of the synthetic rows that lie in any of them

Source: Chundawat et al., "TabSynDex: A Universal Metric for Robust Evaluation of Synthetic Tabular Data" (IEEE TAI).
Deviations: the parts are the paper's, the arithmetic is mended; `tabsyndex_published` has it as published, with what is
wrong there. An exact copy has 1 here: whether rows were copied is for `privacy` to say.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genunlearn.data.tables import Floats, Table
from genunlearn.errors import DataError
from genunlearn.synthesis.associations import associations, is_constant
from genunlearn.synthesis.encoding import Encoding

BINS = 20
PARTS = ("basic", "corr", "ml", "pmse", "support")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The five parts, each in [0, 1], 1 is good."""

    basic: float
    corr: float
    ml: float
    pmse: float
    support: float

    @property
    def score(self) -> float:
        """Their mean."""
        return float(np.mean(list(asdict(self).values())))


def tabsyndex(real: Table, fake: Table, *, holdout: Table | None = None, compat: bool = False, seed: int = 0) -> Parts:
    """Score a synthetic table.

    Args:
        real: What the synthetic rows stand for.
        fake: The synthetic rows; categories beyond those of `real` may stand behind them.
        holdout: Real rows that nothing has learnt from, which estimators are judged on.
        compat: The arithmetic as published, which has no use for `holdout` and `seed`.
        seed: Of the estimators.

    Raises:
        DataError: There is no `holdout`, or the published arithmetic has no value for these tables.
    """
    if compat:
        from genunlearn.synthesis.tabsyndex_published import published

        return Parts(**published(real, fake))
    if holdout is None:
        raise DataError("holdout = None: TabSynDex judges estimators on real rows that were held out; give some")
    return Parts(
        basic=basic(real, fake),
        corr=corr(real, fake),
        ml=ml(real, fake, holdout, seed),
        pmse=pmse(real, fake),
        support=support(real, fake),
    )


def basic(real: Table, fake: Table) -> float:
    """Means, spreads, medians and blanks of numbers; shares of categories."""
    return 1 - float(np.mean([_difference(real, fake, place) for place in range(len(real.columns))]))


def _difference(real: Table, fake: Table, place: int) -> float:
    a, b = real.values[:, place], fake.values[:, place]
    if real.columns[place].is_category:
        levels = int(max(a.max(), b.max())) + 1
        shares = [np.bincount(column.astype(int), minlength=levels) / len(column) for column in (a, b)]
        return float(np.abs(shares[0] - shares[1]).sum()) / 2
    blanks = [float(np.isnan(column).mean()) for column in (a, b)]
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if not len(a) or not len(b):
        return float(len(a) != len(b))
    unit = 0.0 if is_constant(a) else float(a.std())
    gaps = [abs(float(f(a) - f(b))) for f in (np.mean, np.std, np.median)]
    errors = [min(gap / unit, 1.0) if unit else float(gap > 0) for gap in gaps]
    return float(np.mean([*errors, abs(blanks[0] - blanks[1])] if any(blanks) else errors))


def corr(real: Table, fake: Table) -> float:
    """Associations of all pairs of columns."""
    gaps = np.minimum(np.abs(associations(real) - associations(fake)), 1)
    count = len(real.columns)
    return 1 - float(gaps.sum()) / (count**2 - count)


def ml(real: Table, fake: Table, holdout: Table, seed: int) -> float:
    """What four estimators lose on held-out real rows by learning from synthetic ones."""
    encoding = Encoding(real, [place for place in range(len(real.columns)) if place != real.target])
    asked, truth = encoding(holdout), holdout.values[:, real.target]
    is_class = real.columns[real.target].is_category
    losses = []
    for estimator in estimators(is_class, seed):
        first, second = (
            _answers(estimator, encoding(table), table.values[:, real.target], asked) for table in (real, fake)
        )
        if is_class:
            right, found = float((first == truth).mean()), float((second == truth).mean())
            losses.append(max(right - found, 0.0) / max(right, 1e-12))
        else:
            spread = float(np.sqrt(((truth - real.values[:, real.target].mean()) ** 2).mean())) or 1.0
            error, found = (float(np.sqrt(((answer - truth) ** 2).mean())) for answer in (first, second))
            losses.append(min(max(found - error, 0.0) / spread, 1.0))
    return 1 - float(np.mean(losses))


def estimators(is_class: bool, seed: int) -> list[Any]:
    """Four estimators of scikit-learn, not fitted, for standardised inputs."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    if is_class:
        return [
            LogisticRegression(max_iter=1000),
            RandomForestClassifier(n_estimators=10, random_state=seed),
            DecisionTreeClassifier(random_state=seed),
            MLPClassifier((50, 50), random_state=seed),
        ]
    # With the penalty of 1 of the published ones, which learn targets between 0 and 1, Lasso answers with the mean.
    linear = (Lasso(alpha=0.01), Ridge(alpha=1.0), ElasticNet(alpha=0.01))
    scaled = [TransformedTargetRegressor(one, transformer=StandardScaler()) for one in linear]
    return [RandomForestRegressor(n_estimators=20, max_depth=5, random_state=seed), *scaled]


def _answers(estimator: Any, inputs: Floats, targets: Floats, asked: Floats) -> Floats:
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    if is_constant(targets):  # nothing to learn, which most estimators refuse
        return np.full(len(asked), targets[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: Floats = clone(estimator).fit(inputs, targets).predict(asked)
    return found


def pmse(real: Table, fake: Table) -> float:
    """Whether a logistic regression tells synthetic rows from real ones better than chance would let it."""
    from sklearn.linear_model import LogisticRegression

    encoding = Encoding(real)
    inputs = np.concatenate([encoding(real), encoding(fake)])
    # categories that the real table lacks are a tell of their own
    unknown = np.zeros(len(inputs))
    unknown[len(real) :] = _is_unknown(real, fake)
    inputs = np.column_stack([inputs, unknown]) if unknown.any() else inputs
    inputs = inputs.clip(-1e3, 1e3)
    is_fake = np.arange(len(inputs)) >= len(real)
    told = LogisticRegression(C=1e3, max_iter=1000).fit(inputs, is_fake).predict_proba(inputs)[:, 1]
    share = float(is_fake.mean())
    coefficients = np.linalg.matrix_rank(inputs - inputs.mean(0)) + 1
    expected = max(int(coefficients) - 1, 1) * (1 - share) ** 2 * share / len(inputs)
    ratio = float(((told - share) ** 2).mean()) / expected
    return float(1.2 ** -(max(ratio, 1.0) - 1))


def _is_unknown(real: Table, fake: Table) -> Floats:
    """Which synthetic rows hold a category that the real table does not know."""
    levels = [np.inf if column.levels is None else len(column.levels) for column in real.columns]
    found: Floats = np.any(fake.values >= np.array(levels)[None], axis=1).astype(np.float64)
    return found


def support(real: Table, fake: Table) -> float:
    """How much of what the real columns hold is covered, and that nothing lies outside of it."""
    return float(np.mean([_covered(real, fake, place) for place in range(len(real.columns))]))


def _covered(real: Table, fake: Table, place: int) -> float:
    a, b = real.values[:, place], fake.values[:, place]
    if real.columns[place].is_category:
        edges = np.arange(int(max(a.max(), b.max())) + 2) - 0.5
    else:
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
        if not len(a) or not len(b):
            return float(len(a) == len(b))
        edges = np.linspace(a.min(), a.max(), BINS + 1) if not is_constant(a) else np.array([a[0], a[0]])
    if len(edges) == 2 and edges[0] == edges[1]:
        return float((b == a[0]).mean())
    counts, found = np.histogram(a, edges)[0], np.histogram(b, edges)[0]
    held = counts > 0
    ratios = np.minimum(found[held] / len(b) / (counts[held] / len(a)), 1)
    return float(ratios.mean() * found[held].sum() / len(b))


def as_row(parts: Parts) -> Mapping[str, float]:
    """The score and its parts, by name."""
    return {"score": parts.score, **asdict(parts)}
