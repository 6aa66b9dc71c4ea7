"""Made-up cohort frames with known causes, and a plain Poisson scan beside: what the tests of cohorts stand on.

Not the twin's: lots, suppliers, stations, tools, software and options nested and correlated as in life; markets and
dealers that report more; units of different ages; a planted cause of one of KINDS, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

BEGIN = datetime(2025, 1, 6)
DAYS = 360
PARTS = ("brake_hose", "pump", "battery", "harness", "seat_frame", "steering_rack", "hinge", "lamp")
BOLTS = ("seat_belt", "steering", "wheel", "battery_clamp", "hinge_top")
ECUS = ("abs", "bcm", "tcu")
GAUGES = ("gap_door", "leak_rate", "paint_um")
OPTIONS = ("tow_bar", "sunroof", "sport_seats", "heat_pump", "park_assist", "alloy", "audio", "winter_pack")
KINDS = (
    "lot",
    "supplier",
    "supplier_change",
    "sub_supplier",
    "station",
    "tool_repaired",
    "torque_low",
    "gauge_high",
    "shift",
    "lot_climate",
    "software",
    "software_hardware",
    "behind_option",
    "built_window",
    "late_km",
    "two",
)
Truth = list[tuple[str, Any]]


@dataclass(frozen=True)
class World:
    """One made-up frame and what is really behind its failures."""

    frame: pl.DataFrame
    kind: str
    truths: list[dict[str, Any]]
    hurt: list[np.ndarray]  # units that meet each truth
    made: list[int]  # failures each has made
    outcome: str = "failed"
    exposure: str = "days"
    controls: tuple[str, ...] = ("other_a", "other_b", "other_c")


def units(n: int, random: np.random.Generator) -> dict[str, Any]:
    """Attributes of n units, as numpy columns."""
    r = random
    pick = lambda names, p=None: r.choice(np.array(names), n, p=p)  # noqa: E731
    day = np.sort(r.random(n) * DAYS)
    c: dict[str, Any] = {"unit": np.array([f"U{r.integers(10**9):09d}{i}" for i in range(n)])}
    c["plant"] = pick(["north", "south"], [0.65, 0.35])
    c["line"] = np.char.add(c["plant"], r.choice(["-1", "-2"], n, p=[0.6, 0.4]))
    hour = r.random(n) * 24
    c["shift"] = np.select([hour < 9, hour < 18], ["early", "late"], "night")
    markets = np.array(["DE", "FR", "IT", "ES", "US", "BR", "SE", "IN"])
    c["market"] = r.choice(markets, n, p=[0.22, 0.18, 0.15, 0.1, 0.15, 0.08, 0.06, 0.06])
    warm = {"DE": 0.05, "FR": 0.15, "IT": 0.4, "ES": 0.6, "US": 0.4, "BR": 0.9, "SE": 0.0, "IN": 0.95}
    cold = {"DE": 0.2, "FR": 0.05, "IT": 0.05, "ES": 0.0, "US": 0.3, "BR": 0.0, "SE": 0.9, "IN": 0.0}
    u = r.random(n)
    hot = np.array([warm[m] for m in c["market"]])
    icy = np.array([cold[m] for m in c["market"]])
    c["climate"] = np.select([u < hot, u > 1 - icy], ["hot", "cold"], "mild")
    c["dealer"] = np.char.add(np.char.add(c["market"], "-"), (r.beta(0.8, 2, n) * 12).astype(int).astype(str))
    c["model"] = pick(["S", "M", "L"], [0.4, 0.4, 0.2])
    c["engine"] = np.where(r.random(n) < 0.7, np.char.add("E", c["model"]), pick(["E1", "E2"]))
    c["colour"] = pick(["white", "grey", "black", "red", "blue", "green"], [0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    taste = r.normal(size=n) + (c["model"] == "L")
    for o in OPTIONS:
        c[f"option.{o}"] = taste * r.uniform(0.3, 1.5) + r.normal(size=n) > r.uniform(-1.0, 1.5)
    for p in PARTS:
        many = int(r.integers(1, 4))
        split = r.dirichlet(np.full(many, 3.0))
        s = r.choice(many, n, p=split)
        if many > 1 and r.random() < 0.4:  # the supplier goes with an option
            o = c[f"option.{r.choice(OPTIONS)}"]
            s = np.where(r.random(n) < 0.85, np.where(o, 0, 1), s)
        size = int(r.integers(30, 400))
        c[f"part.{p}.supplier"] = np.char.add(f"{p[:2].upper()}-S", s.astype(str))
        sub = (s + (r.random(n) < 0.3) * r.integers(1, 3, n)) % 4
        c[f"part.{p}.sub_supplier"] = np.char.add("SUB-", sub.astype(str))
        jitter = day + r.normal(size=n) * 4
        lot = np.zeros(n, dtype=int)
        for k in range(many):
            mine = np.flatnonzero(s == k)
            lot[mine[np.argsort(jitter[mine])]] = np.arange(len(mine)) // size + 1000 * k
        c[f"part.{p}.lot"] = np.char.add("L", lot.astype(str))
        c[f"part.{p}.station"] = np.char.add(
            np.char.add(c["line"], f"-{p[:3]}-"), r.integers(0, 2, n).astype(str)
        )
        c[f"part.{p}.tool"] = np.char.add(c[f"part.{p}.station"], np.where(r.random(n) < 0.8, "-a", "-b"))
    for b in BOLTS:
        tool = np.char.add(np.char.add(c["line"], f"-{b[:3]}-T"), r.integers(0, 3, n).astype(str))
        c[f"tool.{b}"] = tool
        _, which = np.unique(tool, return_inverse=True)
        offset = r.normal(size=which.max() + 1) * 0.4
        c[f"torque.{b}"] = np.round(40 + offset[which] + r.normal(size=n) * 1.2 - 0.002 * (day - 180), 2)
    for g in GAUGES:
        c[f"gauge.{g}"] = np.round(r.gamma(9, 1 / 3, n), 3)
    c["gauge.leak_rate"] = np.where(r.random(n) < 0.05, np.nan, c["gauge.leak_rate"])
    for e in ECUS:
        steps = np.sort(r.random(3)) * DAYS
        version = np.searchsorted(steps, day + r.normal(size=n) * 10)
        version = np.where(r.random(n) < 0.25, np.minimum(version + 1, 3), version)
        c[f"software.{e}"] = np.char.add(f"{int(r.integers(1, 8))}.0.", version.astype(str))
        c[f"hardware.{e}"] = np.where(day + r.normal(size=n) * 25 > r.uniform(60, 300), "B", "A")
    c["day"] = day
    c["built_at"] = [BEGIN + timedelta(days=float(d)) for d in np.round(day, 4)]
    sold = day + 8 + r.gamma(2, 18, n)
    end = DAYS + 60 + r.integers(0, 200)
    c["sold_at"] = [BEGIN + timedelta(days=float(d)) for d in np.round(sold, 3)]
    c["days"] = np.maximum(end - sold, 0.5)
    style = r.gamma(4, 0.25, n) * (1 + 0.4 * (c["market"] == "US"))
    c["odometer_km"] = np.round(c["days"] * 40 * style)
    return c


def plant(kind: str, c: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """Conditions of a cause of one kind, drawn where enough units meet them."""
    r = random

    def value(name: str, least: int = 25, most: float = 0.5) -> Any:
        names, count = np.unique(c[name], return_counts=True)
        fit = names[(count >= least) & (count <= most * len(c[name]))]
        return r.choice(fit) if len(fit) else names[count.argmin()]

    p, b, g, e = r.choice(PARTS), r.choice(BOLTS), r.choice(GAUGES), r.choice(ECUS)
    when = lambda d: (BEGIN + timedelta(days=float(d))).isoformat()  # noqa: E731
    if kind == "supplier_change":
        return {
            f"part.{p}.supplier": value(f"part.{p}.supplier", 300, 0.9),
            "built_at": [when(r.uniform(100, 300)), None],
        }
    if kind == "tool_repaired":
        d = r.uniform(30, 300)
        return {f"tool.{b}": value(f"tool.{b}"), "built_at": [when(d), when(d + r.uniform(20, 90))]}
    if kind == "torque_low":
        return {f"torque.{b}": [None, float(np.quantile(c[f"torque.{b}"], r.uniform(0.01, 0.12)))]}
    if kind == "gauge_high":
        return {f"gauge.{g}": [float(np.nanquantile(c[f"gauge.{g}"], r.uniform(0.88, 0.98))), None]}
    if kind == "lot_climate":
        return {f"part.{p}.lot": value(f"part.{p}.lot", 60), "climate": r.choice(["hot", "cold"])}
    if kind == "software_hardware":
        return {f"software.{e}": value(f"software.{e}", 200, 0.7), f"hardware.{e}": r.choice(["A", "B"])}
    if kind == "built_window":
        d = r.uniform(10, 330)
        return {"built_at": [when(d), when(d + r.uniform(5, 25))]}
    if kind == "late_km":
        return {f"part.{p}.lot": value(f"part.{p}.lot", 60), "odometer_km": [8000.0, None]}
    if kind == "behind_option":
        best, found = -1.0, "part.pump.supplier"
        for q in PARTS:
            for o in OPTIONS:
                first = c[f"part.{q}.supplier"] == np.unique(c[f"part.{q}.supplier"])[0]
                k = (
                    abs(np.corrcoef(first, c[f"option.{o}"])[0, 1])
                    if first.std() and c[f"option.{o}"].std()
                    else 0.0
                )
                if k > best:
                    best, found = k, f"part.{q}.supplier"
        return {found: r.choice(np.unique(c[found]))}
    names = {
        "lot": f"part.{p}.lot",
        "supplier": f"part.{p}.supplier",
        "sub_supplier": f"part.{p}.sub_supplier",
        "station": f"part.{p}.station",
        "shift": "shift",
        "software": f"software.{e}",
    }
    return {names[kind]: value(names[kind], 25, 0.7)}


def met(frame: pl.DataFrame, conditions: dict[str, Any]) -> np.ndarray:
    """Which units meet conditions."""
    out = np.ones(len(frame), dtype=bool)
    for name, wanted in conditions.items():
        column = frame[name]
        if isinstance(wanted, list):
            for end, above in zip(wanted, (True, False), strict=True):
                if end is None:
                    continue
                if column.dtype.is_temporal():
                    end = datetime.fromisoformat(end)
                out &= ((column >= end) if above else (column <= end)).fill_null(False).to_numpy()
        elif wanted is None:
            out &= column.is_null().to_numpy()
        else:
            out &= (column == wanted).fill_null(False).to_numpy()
    return out


def world(
    seed: int,
    kind: str | None = None,
    n: int = 5000,
    failures: tuple[float, float] = (6, 45),
    effects: tuple[float, float] = (5, 50),
) -> World:
    """One world: n units, a cause of `kind` (default: drawn from KINDS) that makes about `failures`, and a background.

    Those hurt fail at least `effects` times as often as the others; both are drawn evenly in the logarithm.
    """
    r = np.random.default_rng([seed, 77])
    kind = kind or str(r.choice(KINDS))
    c = units(n, r)
    frame = pl.DataFrame(
        {k: v if isinstance(v, list) else v.tolist() for k, v in c.items() if k != "day"}
    ).with_columns(pl.col("gauge.leak_rate").fill_nan(None))
    report = {m: np.exp(r.normal() * 0.5) for m in np.unique(c["market"])}
    loud = {d: np.exp(r.normal() * 0.25) for d in np.unique(c["dealer"])}
    loud[r.choice(np.unique(c["dealer"]))] = 4.0
    reporting = np.array([report[m] * loud[d] for m, d in zip(c["market"], c["dealer"], strict=True)])
    shape = r.choice([0.8, 1.0, 1.0, 1.4])
    base = (c["days"] / 300) ** shape * reporting
    background = r.uniform(4, 20) if kind != "none" else r.uniform(10, 60)
    parts, truths, hurt = [base], [], []
    kinds = (
        []
        if kind == "none"
        else [str(k) for k in r.choice(KINDS[:-1], 2, replace=False)]
        if kind == "two"
        else [kind]
    )
    for k in kinds:
        for _ in range(60):
            truth = plant(k, c, r)
            inside = met(frame, truth)
            if 20 <= inside.sum() <= 0.4 * n:
                break
        wanted = np.exp(r.uniform(*np.log(failures)))
        each = np.where(inside, base, 0.0)
        effect = np.exp(r.uniform(*np.log(effects)))
        background = min(background, wanted / (effect - 1) * base.sum() / each.sum())
        parts.append(np.minimum(each * min(wanted, 0.6 * inside.sum()) / max(each.sum(), 1e-9), 2.0))
        truths.append(truth)
        hurt.append(inside)
    parts[0] = base * background / base.sum()
    hits = np.array([r.poisson(x) for x in parts])
    failed = hits.sum(axis=0) > 0
    made = [int(((h > 0) & (hits[0] == 0)).sum()) for h in hits[1:]]
    others = {f"other_{x}": r.poisson((c["days"] / 300) * reporting * r.uniform(0.01, 0.08)) for x in "abc"}
    frame = frame.with_columns(pl.Series("failed", failed), *(pl.Series(k, v) for k, v in others.items()))
    return World(frame, kind, truths, hurt, made)


def right(w: World, conditions: dict[str, Any], truth: int) -> bool:
    """Whether conditions name a truth: the same attributes, values and sides, or all but the same units."""
    t, inside = w.truths[truth], met(w.frame, conditions)

    def close(a: np.ndarray, b: np.ndarray) -> float:
        return float((a & b).sum() / max((a | b).sum(), 1))

    if close(inside, w.hurt[truth]) >= 0.8:
        return True
    if set(t) != set(conditions):
        return False
    return all(
        close(met(w.frame, {k: t[k]}), met(w.frame, {k: conditions[k]}))
        >= (0.3 if isinstance(t[k], list) else 0.9)
        for k in t
    )


def plain_scan(
    frame: pl.DataFrame,
    outcome: str,
    *,
    exposure: str,
    controls: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> list[tuple[dict[str, Any], float]]:
    """A plain Poisson scan: values, tails and pairs, exposure as offset, other symptoms as controls, Bonferroni."""
    from scipy.stats import poisson

    y = frame[outcome].cast(pl.Float64).to_numpy()
    e = frame[exposure].cast(pl.Float64).to_numpy()
    other = (
        frame.select(pl.sum_horizontal([pl.col(c).cast(pl.Float64) for c in controls] or [pl.lit(0.0)]))
        .to_series()
        .to_numpy()
    )
    market = other.sum() / e.sum() if controls else 0.0
    e = e * y.sum() / e.sum()
    names = attributes or [c for c in frame.columns if c not in {outcome, exposure, *controls}]
    single: list[tuple[dict[str, Any], np.ndarray]] = []
    for name in names:
        column = frame[name]
        if column.dtype == pl.Boolean or column.dtype == pl.String:
            if column.n_unique() > len(frame) / 2:
                continue
            hit = column.filter(pl.Series(y > 0)).value_counts()
            for v, k in hit.iter_rows():
                if k >= 2 and v is not None:
                    single.append(({name: v}, (column == v).fill_null(False).to_numpy()))
        else:
            for q in (0.01, 0.02, 0.05, 0.1, 0.2):
                known = column.drop_nulls().sort()
                low, high = known[int(q * len(known))], known[int((1 - q) * len(known))]
                write: Callable[[Any], Any] = lambda x: x.isoformat() if isinstance(x, datetime) else x  # noqa: E731
                single.append(({name: [None, write(low)]}, (column <= low).fill_null(False).to_numpy()))
                single.append(({name: [write(high), None]}, (column >= high).fill_null(False).to_numpy()))
    masks = np.array([m for _, m in single])
    first = [(i,) for i in range(len(single))]
    own = [next(iter(s[0])) for s in single]
    failing = masks[:, y > 0].astype(np.float32)
    shared = failing @ failing.T
    pairs = [(i, j) for i, j in combinations(range(len(single)), 2) if own[i] != own[j] and shared[i, j] >= 3]
    weighted = np.vstack([masks * w for w in ()] or [masks]).astype(np.float32)
    expected = (weighted * e.astype(np.float32)) @ weighted.T
    reported = (weighted * other.astype(np.float32)) @ weighted.T
    days = (weighted * (e / max(y.sum(), 1) * other.sum()).astype(np.float32)) @ weighted.T
    tests = first + pairs
    i = np.array([t[0] for t in tests])
    j = np.array([t[-1] for t in tests])
    more = (reported[i, j] + 10) / (days[i, j] + 10) if market else 1.0
    p = poisson.logsf(shared[i, j] - 1, np.maximum(expected[i, j] * more, 1e-9)) + np.log(
        2 * np.where(i == j, len(first), len(pairs))
    )
    best = np.argsort(p)[:10]
    return [
        ({**single[i[k]][0], **single[j[k]][0]}, float(np.exp(min(p[k], 0.0))))
        for k in best
        if p[k] < np.log(alpha)
    ]
