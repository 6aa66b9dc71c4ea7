"""Subgroup discovery by pysubgroup, in an environment of its own.

`python -m venv benchmarks/.peers/loop && benchmarks/.peers/loop/bin/pip install -r benchmarks/requirements-loop.txt`
(or LOOP_PYTHON). Without it this peer is left out, by name. Setting: its standard quality function with a = .5 (share of
failures over the average, times the root of the size), beam search, beam width 20 (its default), depth 2, ordered columns
cut in five (its default) below and above. So that it ends in time, values with fewer than three failures are not offered to it (no
subgroup with three failures is lost by that). It has no test: it stands for its first candidate always.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from benchmarks.loop.answers import Answer, Found, told

PEER = Path(os.environ.get("LOOP_PYTHON", Path(__file__).parents[1] / ".peers/loop/bin/python"))
SCRIPT = """
import json, math, sys, time, warnings
import pandas as pd
import pysubgroup as ps
warnings.filterwarnings("ignore")

def ends(s):
    return [None if math.isinf(s.lower_bound) else float(s.lower_bound), None if math.isinf(s.upper_bound) else float(s.upper_bound)]

for line in sys.stdin:
    case = json.loads(line)
    began = time.perf_counter()
    data = pd.read_parquet(case["path"])
    data["failed_"] = data[case["outcome"]] > 0
    failed = data[data["failed_"]]
    space = []
    for name in case["attributes"]:
        if name in case["ordered"]:
            if data[name].nunique() > 1:
                space += [s for s in ps.create_numeric_selectors_for_attribute(data, name, nbins=5, intervals_only=False)
                          if isinstance(s, ps.IntervalSelector)]
        else:
            counts = failed[name].dropna().value_counts()
            space += [ps.EqualitySelector(name, v) for v in counts[counts >= 3].index]
    task = ps.SubgroupDiscoveryTask(data, ps.BinaryTarget("failed_", True), space, result_set_size=10, depth=2, qf=ps.StandardQF(0.5))
    found = ps.BeamSearch(beam_width=20).execute(task)
    ranked = []
    for quality, rule, _ in found.results:
        said = {}
        for s in rule.selectors:
            name = s.attribute_name
            if isinstance(s, ps.IntervalSelector):
                low, high = ends(s)
                was = said.get(name, [None, None])
                said[name] = [low if was[0] is None else was[0] if low is None else max(low, was[0]),
                              high if was[1] is None else was[1] if high is None else min(high, was[1])]
            else:
                value = s.attribute_value
                said[name] = value.item() if hasattr(value, "item") else value
        if said and quality > 0:
            ranked.append(said)
    print(json.dumps({"id": case["id"], "ranked": ranked, "looked": len(space), "seconds": time.perf_counter() - began}), flush=True)
"""


def explain_all(
    folder: Path, cases: Sequence[tuple[str, pl.DataFrame, str, Sequence[str]]]
) -> dict[str, tuple[Answer, float]]:
    """Answers and seconds by case: (name, table, outcome, attributes); tables are handed over as Parquet in `folder`.

    Raises RuntimeError with the peer's last line where it fails.
    """
    tables: dict[str, pl.DataFrame] = {}
    lines = []
    for name, frame, outcome, attributes in cases:
        path = folder / f"{name}.subgroups.parquet"
        flat = frame.select(outcome, *(_plain(frame[a]) for a in attributes if a != outcome))
        flat.write_parquet(path)
        numeric = [a for a in attributes if flat[a].dtype.is_numeric()]
        tables[name] = frame
        lines.append(
            json.dumps({
                "id": name,
                "path": str(path),
                "outcome": outcome,
                "attributes": list(attributes),
                "ordered": numeric,
            })
        )  # fmt: skip
    said = subprocess.run(
        [str(PEER), "-c", SCRIPT], input="\n".join(lines), capture_output=True, text=True, check=False
    )
    if said.returncode:
        raise RuntimeError(f"pysubgroup: {(said.stderr.strip() or 'ended').splitlines()[-1]}")
    out: dict[str, tuple[Answer, float]] = {}
    for line in said.stdout.splitlines():
        one = json.loads(line)
        frame = tables[one["id"]]
        ranked = tuple(
            Found({
                a: told(frame[a], *v) if isinstance(v, list) else v for a, v in conditions.items()
            })
            for conditions in one["ranked"]
        )  # fmt: skip
        out[one["id"]] = Answer(ranked[:1], ranked, one["looked"]), one["seconds"]
    return out


def _plain(column: pl.Series) -> pl.Series:
    """A column as that environment reads it: numbers, booleans, text; times in ticks."""
    if column.dtype.is_temporal():
        return column.to_physical().cast(pl.Float64)
    return column if column.dtype.is_numeric() or column.dtype == pl.Boolean else column.cast(pl.String)
