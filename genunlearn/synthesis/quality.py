"""The quality score of SDMetrics beside TabSynDex, where that library is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from genunlearn.data.tables import Table

PACKAGE = "sdmetrics"


def is_installed() -> bool:
    """Whether the library of the extra ``tables`` is there."""
    try:
        return find_spec(PACKAGE) is not None
    except ValueError:  # marked as missing in sys.modules
        return False


def quality(real: Table, fake: Table) -> dict[str, float]:
    """Its ``QualityReport``: ``quality`` overall, and the shares of column shapes and of pairs of columns."""
    import warnings

    columns = {f"c{j}": column for j, column in enumerate(real.columns)}
    kinds = {name: {"sdtype": "categorical" if c.is_category else "numerical"} for name, c in columns.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns with one value, which it leaves out, and of names to come
        from sdmetrics.reports.single_table import QualityReport

        report = QualityReport()
        report.generate(_frame(real), _frame(fake), {"columns": kinds}, verbose=False)
    shares = report.get_properties()
    found = {"quality": float(report.get_score())}
    for name, key in (("Column Shapes", "column_shapes"), ("Column Pair Trends", "column_pairs")):
        found[key] = float(shares.loc[shares["Property"] == name, "Score"].iloc[0])
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _frame(table: Table) -> Any:
    import pandas

    frame = pandas.DataFrame({f"c{j}": values for j, values in enumerate(table.values.T)})
    for j, column in enumerate(table.columns):
        if column.is_category:
            frame[f"c{j}"] = frame[f"c{j}"].astype(int).astype(str)
    return frame
