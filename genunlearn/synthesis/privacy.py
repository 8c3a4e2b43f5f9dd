"""Whether synthetic rows lie nearer to forgotten rows than to rows that no generator has seen.

    d(x)       = distance from a real row x to the nearest synthetic row
    closeness  = P( d(forgotten) < d(held out) ) + P( equal ) / 2,  0.5 where forgotten rows are as far as any other
    copied(X)  = share of the rows of X that stand among the synthetic ones as they are
    distance   = the mean over columns of |a - b| / sd for numbers, at most 1, and of 1 for different categories

Source: ours; the distance to the closest record (DCR) is the field's, and held-out rows as its control are in SDMetrics
(DCROverfittingProtection).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genunlearn.data.tables import Floats, Table
from genunlearn.ops.intervals import LEVEL, RESAMPLES, of_pairs
from genunlearn.synthesis.encoding import Encoding

SAME = 1e-9
"""Distance within which two rows are one."""
BLOCK = 256
"""Rows whose distances are computed at once."""


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Distances to the nearest synthetic row.

    Attributes:
        forgotten: Of each forgotten row.
        held_out: Of each row that no generator has seen.
    """

    forgotten: Floats
    held_out: Floats


def distances(fake: Table, forgotten: Table, held_out: Table, real: Table) -> Distances:
    """How far forgotten and held-out rows are from the synthetic ones; `real` gives the spreads."""
    return Distances(
        forgotten=nearest(forgotten, fake, real),
        held_out=nearest(held_out, fake, real),
    )


def nearest(rows: Table, among: Table, real: Table) -> Floats:
    """Distance of each of `rows` to the nearest of `among`, ``(rows,)``."""
    encoding = Encoding(real)
    a, b = _comparable(rows, encoding), _comparable(among, encoding)
    is_category = real.is_category
    found = np.zeros(len(a))
    for start in range(0, len(a), BLOCK):
        block = a[start : start + BLOCK]
        total = np.zeros((len(block), len(b)))
        for place in range(a.shape[1]):
            gaps = np.abs(block[:, place, None] - b[None, :, place])
            total += (gaps > 0) if is_category[place] else np.minimum(gaps, 1)
        found[start : start + BLOCK] = total.min(1) / a.shape[1]
    return found


def _comparable(table: Table, encoding: Encoding) -> Floats:
    """Numbers in spreads, categories by number; a blank is far from every number and like another blank."""
    unit = np.where(table.is_category, 1.0, encoding.spread)
    return np.where(np.isnan(table.values), 1e12, table.values / unit)


def closeness(found: Distances, seed: int = 0) -> tuple[float, float, float]:
    """The share of pairs in which the forgotten row is the nearer one, with its interval over both sides.

    It is the wider one of a bootstrap, which sees how unequal rows are, and of `of_pairs`: resampling a handful of
    rows gives them again and again, and of a single one an interval that is a point.
    """
    nearer = _nearer(found.forgotten, found.held_out)
    rows, others = nearer.shape
    generator = np.random.default_rng(seed)
    # The mean of a resampled matrix is a product of how often each row and each column was drawn.
    a = generator.multinomial(rows, np.full(rows, 1 / rows), RESAMPLES) / rows
    b = generator.multinomial(others, np.full(others, 1 / others), RESAMPLES) / others
    drawn = np.einsum("ki,ij,kj->k", a, nearer, b, optimize=True)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn.clip(0, 1), [tail, 100 - tail])
    value = float(nearer.mean())
    least, most = of_pairs(value, rows, others)
    return value, min(float(low), least), max(float(high), most)


def _nearer(forgotten: Floats, held_out: Floats) -> Floats:
    gaps = held_out[None, :] - forgotten[:, None]
    return (gaps > SAME) + 0.5 * (np.abs(gaps) <= SAME)
