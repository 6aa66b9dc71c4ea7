"""What do the failing units share that the others don't: cohort explanation, in any table with attributes and an outcome.

>>> import polars as pl
>>> units = pl.DataFrame({"lot": ["A", "B", "C", "D"] * 50, "shift": (["early"] * 4 + ["late"] * 4) * 25})
>>> units = units.with_columns(failed=(pl.col("lot") == "B") & (pl.int_range(200) % 3 == 0))
>>> [c.conditions for c in explain(units, "failed").causes]
[{'lot': 'B'}]
"""

from __future__ import annotations

from unibody.methods.cohorts.answer import explain
from unibody.methods.cohorts.explanation import Cause, Chance, Conditions, Explanation

__all__ = ["Cause", "Chance", "Conditions", "Explanation", "explain"]
