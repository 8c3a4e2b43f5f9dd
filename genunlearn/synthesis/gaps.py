"""Tables with blanks for generators that know none: a blank is filled, and a category says where it was.

The number put in for a blank is that of the row that is nearest in the columns that both have, so that what hangs
together still does. Drawn rows are blank where their category says so.
"""

from __future__ import annotations

import numpy as np

from genunlearn.data.tables import Column, Floats, Table
from genunlearn.synthesis.encoding import Encoding


class FilledTable:
    """A table without blanks, and the way back.

    Attributes:
        table: The columns of the real table, filled, and behind them a category for each that has blanks.
    """

    def __init__(self, real: Table) -> None:
        """Fill the blanks of `real`."""
        self._real, self._places = real, np.flatnonzero(np.isnan(real.values).any(0))
        is_blank = np.isnan(real.values[:, self._places]).astype(np.float64)
        told = tuple(Column(f"{real.columns[place].name} is blank", ("no", "yes")) for place in self._places)
        values = np.concatenate([_filled(real), is_blank], axis=1)
        self.table = Table(columns=(*real.columns, *told), values=values, target=real.target)

    def back(self, drawn: Floats) -> Table:
        """Rows of the filled table as rows of the real one."""
        count = len(self._real.columns)
        values = drawn[:, :count].copy()
        for place, is_blank in zip(self._places, drawn[:, count:].T, strict=True):
            values[is_blank == 1, place] = np.nan
        return self._real.having(values)


def _filled(real: Table) -> Floats:
    from sklearn.impute import KNNImputer

    if not np.isnan(real.values).any():
        return real.values
    unit = np.where(real.is_category, 1.0, Encoding(real).spread)
    found: Floats = KNNImputer(n_neighbors=1, keep_empty_features=True).fit_transform(real.values / unit)
    return np.where(np.isnan(real.values), found * unit, real.values)
