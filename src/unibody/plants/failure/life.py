"""How much usage is left: boosted trees on windowed signals and on health indices, stacked out of fold by machine.

A health index is a linear reading of all signals at once that falls as the end comes near (as in Wang et al., "A
similarity-based prognostics approach", PHM 2008); its mean, slope and change over windows say more about wear than
any signal alone. Intervals are conformal: the errors made on machines left out, at moments with a like forecast.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from unibody.errors import SetupError
from unibody.plants.failure import answers, boost, features, history, regimes
from unibody.plants.failure import kinds as kinds_of
from unibody.plants.failure.history import Floats, History, Ints

if TYPE_CHECKING:
    from unibody.plants.failure import Settings
    from unibody.solution import UseCase

_ROWS_MACHINE_MOST = 2_000  # of longer lives, several readings make one row
_FEW = 20  # so few lives are left out one by one
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class LifeModel(regimes.Basis):
    """What was learned about lives."""

    windows: Ints  # in rows
    health: Floats  # (signals + 1) x indices, the last row is the offset
    base_health: Floats  # the same of the model this one was adapted from, else empty
    trees: tuple[str, ...]  # names of the parts of the stack
    full: bytes  # on all features
    short: bytes  # on the health indices and age
    base_full: bytes  # of the model this one was adapted from, else empty
    base_scale: float
    weights: Floats  # of the stack
    kinds: tuple[str, ...]  # word signals that tell kinds of machine with lives of different length
    scales: Floats  # typical life of each kind, then of all; all but these is counted in them; 1 where there are no kinds
    lives: Floats  # of the training machines
    cap: float  # remaining life above it counts as this; inf: no cap
    forecasts: Floats  # out-of-fold forecasts, sorted
    errors: Floats  # true minus forecast, of the same moments
    normal: Floats  # per signal: mean and deviation of the early life's recent mean
    importance: Floats  # per signal


def learn(
    readings: pl.DataFrame, truth: pl.DataFrame, case: UseCase, settings: Settings, base: Any
) -> LifeModel:
    """Learn from whole lives and when they ended."""
    h = history.gather(readings, settings.name_signal)
    stretch = history.stretch_of(h, _ROWS_MACHINE_MOST)
    end = _ends(h, truth)
    h = history.condense(h, stretch)
    known = np.flatnonzero(np.isfinite(end))
    if len(known) < 2:
        raise SetupError(
            f"use case {case.name}: {len(known)} machine(s) with a known end of life among {len(h.machines)} read; "
            "learning how lives end takes 2 or more (rows of `outcome` whose subject is the machine)"
        )
    basis = replace(regimes.find(h), stretch=stretch)
    if not basis.signals:
        raise SetupError(
            f"use case {case.name}: no signal of {len(h.signals)} varies; there is nothing to learn from"
        )
    notes = [basis.notes]
    if isinstance(base, LifeModel):
        lacking = set(base.signals) - set(basis.signals)
        if lacking or base.on_usage != h.on_usage:
            why = f"lacks {', '.join(sorted(lacking))}" if lacking else "counts another clock"
            notes.append(f"base not used: this set {why}; learned plainly")
            base = None
        else:
            keep = [basis.signals.index(s) for s in base.signals]
            basis = replace(
                basis, signals=base.signals, mean=basis.mean[:, keep], deviation=basis.deviation[:, keep]
            )
            notes.append("adapted: signals, windows and trees of the base, on readings normalised anew")
    else:
        notes.append("base not used: it did not learn lives") if base is not None else None
        base = None
    cap = float(case.cap or settings.cap or np.inf)
    kinds, scales = (
        kinds_of.find(h, end, known) if np.isinf(cap) and (base is None or base.kinds) else ((), np.ones(1))
    )
    scales = np.array([np.median(end[known])]) if base is not None and base.kinds and not kinds else scales
    notes.append(f"lives counted in typical lives by {', '.join(kinds)}") if kinds else None
    scale = kinds_of.scale(h, kinds, scales)
    h, end = replace(h, clock=h.clock / scale[h.owner]), end / scale
    lives = end[known]
    rows_of_life = float(np.median(np.diff(h.starts)[known]))
    windows = np.array(base.windows if base else features.windows_of(rows_of_life), dtype=np.int64)

    left = np.maximum(np.repeat(end, np.diff(h.starts)) - h.clock, 0.0)
    target = np.minimum(left, cap)
    usable = np.isfinite(left)
    stride = max(1, int(np.ceil(usable.sum() / settings.moments)))
    # every machine's moments count alike, however long it lived; the last row of each is kept
    train = usable & ((np.repeat(h.starts[1:], np.diff(h.starts)) - 1 - np.arange(len(h.x))) % stride == 0)
    weight = 1.0 / np.bincount(h.owner[train], minlength=len(h.machines)).clip(1)[h.owner]
    weight /= weight[train].mean()

    z = basis.corrected(h)
    plain = features.describe(z, h, np.arange(len(h.x)), _three(windows))
    parts = _Parts(h, z, plain, target, weight, windows, base, float(np.median(lives)))

    # out of fold: five groups of machines, or each by itself where they are few
    count = len(known) if len(known) <= _FEW else 5
    groups = np.full(len(h.machines), -1)
    groups[known] = np.random.default_rng(0).permutation(len(known)) % count
    moments = _moments(h, known)
    blind = np.full((len(h.x), len(parts.names)), np.nan)

    def fold(g: int) -> dict[str, Any]:
        if g == count:
            return parts.fit(train, seeds=settings.seeds)
        asked = moments[groups[h.owner[moments]] == g]
        fitted = parts.fit(train & (groups[h.owner] != g), seeds=1)
        blind[asked] = parts.predict(fitted, asked, end[known[groups[known] != g]])
        return fitted

    final = boost.together(fold, range(count, -1, -1))[0]
    weights = _stack(blind[moments], target[moments], weight[moments] if stride == 1 else None, len(known))
    guess = np.clip(blind[moments] @ weights, 0, cap)
    order = np.argsort(guess, kind="stable")
    errors = (target[moments] - guess)[order]
    if len(known) <= _FEW:
        notes.append(f"only {len(known)} lives: how far off it is, is itself not well known")
    notes.append(
        f"{len(known)} lives, median {np.median(lives * scale[known]):.4g}; out-of-fold RMSE {np.sqrt(np.mean(errors**2)):.4g}; stack "
        + ", ".join(f"{n} {w:.2f}" for n, w in zip(parts.names, weights, strict=True))
    )
    normal, importance = _normal(h, z, end, _three(windows), final, parts)
    return LifeModel(
        **{f.name: getattr(basis, f.name) for f in fields(regimes.Basis) if f.name != "notes"},
        notes="; ".join(notes),
        windows=windows,
        health=final["health"],
        base_health=base.health if base else np.zeros((0, 0)),
        trees=parts.names,
        full=final["full"],
        short=final["short"],
        base_full=base.full if base else b"",
        base_scale=float(np.median(lives) / np.median(base.lives)) if base else 1.0,
        weights=weights,
        kinds=kinds,
        scales=scales,
        lives=np.sort(lives),
        cap=cap,
        forecasts=guess[order],
        errors=errors,
        normal=normal,
        importance=importance,
    )


def decide(model: LifeModel, readings: pl.DataFrame, case: UseCase, settings: Settings) -> pl.DataFrame:
    """Say for each machine, at its last reading, how much usage is left."""
    h = model.gather(readings, settings.name_signal)
    if model.on_usage and not h.on_usage:
        raise SetupError(
            f"use case {case.name}: the model counts usage, but some machine's readings state none"
        )
    scale = kinds_of.scale(h, model.kinds, model.scales)
    h = replace(h, clock=h.clock / scale[h.owner])
    z = model.corrected(h)
    rows, windows = h.last, _three(model.windows)
    indices = _indices(z, model.health)
    plain = features.describe(z, h, rows, windows)
    short = _short(indices, h, rows, windows)
    columns = [
        boost.predict(model.full, np.hstack([plain, short])),
        boost.predict(model.short, _with_age(short, h, rows)),
    ]
    columns.append(_mean_left(model.lives, h.clock[rows]))
    if model.base_full:
        based = np.hstack([plain, _short(_indices(z, model.base_health), h, rows, windows)])
        columns.append(boost.predict(model.base_full, based) * model.base_scale)
    value = np.clip(np.column_stack(columns) @ model.weights, 0, model.cap)
    ahead = settings.plan_ahead / scale if settings.plan_ahead else np.median(model.lives) / 10 + 0 * value
    low, high, sure = _spread(model, value, settings.coverage, ahead)
    value, low, high = value * scale, low * scale, high * scale
    worth = settings.cost_of_stop_eur * sure - settings.cost_of_visit_eur
    recent = plain[:, len(model.signals) : 2 * len(model.signals)]
    departure = np.nan_to_num((recent - model.normal[0]) / model.normal[1])
    unit = case.unit or ("of usage" if h.on_usage else "hours")
    found = []
    for m, machine in enumerate(h.machines):
        moved = answers.drivers(departure[m], model.importance, model.signals)
        stop = worth[m] > 0
        left = answers.left(value[m], low[m], high[m], unit, capped=value[m] >= 0.97 * model.cap)
        signals = [s for s, _ in moved] or list(model.signals)
        since = h.at[max(int(h.starts[m]), int(rows[m]) - windows[2] + 1)]
        found.append(
            {
                "subject": machine,
                "decided_at": answers.instant(h.at[rows[m]]),
                "action": "plan a stop" if stop else "keep running",
                "reason": answers.reason(
                    f"{h.called[m]}: {left}: {'plan its stop' if stop else 'keep it running'}",
                    moved, "no signal is far from normal: judged by age",
                ),
                "evidence": answers.evidence(machine, signals, since, h.at[rows[m]]),
                "score": -float(value[m]), "value": float(value[m]), "low": float(low[m]), "high": float(high[m]),
                "worth_eur": float(worth[m]), "sure": float(sure[m]),
            }
        )  # fmt: skip
    return answers.frame(found)


class _Parts:
    """The parts of the stack, learned on any choice of training rows."""

    def __init__(
        self,
        h: History,
        z: Floats,
        plain: Floats,
        target: Floats,
        weight: Floats,
        windows: Ints,
        base: Any,
        life: float,
    ) -> None:
        self.h, self.z, self.plain, self.target, self.weight = h, z, plain, target, weight
        self.windows, self.base = _three(windows), base
        self.names = ("signals", "health", "age", *(["base"] if base else []))
        self.base_scale = life / float(np.median(base.lives)) if base else 1.0
        self.life = life
        self.bold = len(z) < 10_000

    def fit(self, train: Any, seeds: int) -> dict[str, Any]:
        rows = np.flatnonzero(train)
        y, w = self.target[rows], self.weight[rows]
        health = _health(self.z, self.plain, rows, y, w, self.life)
        short = _short(_indices(self.z, health), self.h, rows, self.windows)
        full = boost.fit(np.hstack([self.plain[rows], short]), y, w, seeds=seeds, bold=self.bold)
        return {"health": health, "full": full, "short": boost.fit(
            _with_age(short, self.h, rows), y, w, seeds=seeds, trees=300, share=0.6, bold=self.bold)}  # fmt: skip

    def predict(self, fitted: dict[str, Any], rows: Ints, lives: Floats) -> Floats:
        short = _short(_indices(self.z, fitted["health"]), self.h, rows, self.windows)
        columns = [
            boost.predict(fitted["full"], np.hstack([self.plain[rows], short])),
            boost.predict(fitted["short"], _with_age(short, self.h, rows)),
            _mean_left(lives, self.h.clock[rows]),
        ]
        if self.base:
            based = _short(_indices(self.z, self.base.health), self.h, rows, self.windows)
            columns.append(
                boost.predict(self.base.full, np.hstack([self.plain[rows], based])) * self.base_scale
            )
        return np.column_stack(columns)


def _three(windows: Ints) -> tuple[int, int, int]:
    return int(windows[0]), int(windows[1]), int(windows[2])


def _ends(h: History, truth: pl.DataFrame) -> Floats:
    """Each machine's age at its end, on the clock of `h`; NaN where it is not known."""
    rows = {r["subject"]: r for r in truth.sort("happened_at", nulls_last=True).iter_rows(named=True)}
    found = np.full(len(h.machines), np.nan)
    for m, machine in enumerate(h.machines):
        row = rows.get(machine)
        if row is None:
            continue
        last = float(h.clock[h.last[m]])
        if h.on_usage and row["usage"] is not None:
            # `usage` is the last reading's where `remaining` says how much came after it
            found[m] = max(float(row["usage"]), last + float(row["remaining"] or 0.0))
        elif row["remaining"] is not None:
            found[m] = last + float(row["remaining"])
        elif row["happened_at"] is not None:
            at = answers.instant(h.at[h.last[m]])
            hours = (row["happened_at"] - at).total_seconds() / 3600
            span = (h.at[h.last[m]] - h.at[h.starts[m]]) / _HOUR_US
            rate = (
                (last - float(h.clock[h.starts[m]])) / span
                if h.on_usage and span > 0
                else float(not h.on_usage)
            )
            found[m] = last + max(hours, 0.0) * rate
    return found


def _moments(h: History, known: Ints) -> Ints:
    """Moments to be judged blind: as many of each machine, at random over its life."""
    each = int(np.clip(3000 // len(known), 10, 100))
    rng = np.random.default_rng(1)
    chosen = [np.unique(rng.integers(h.starts[m], h.starts[m + 1], each)) for m in known]
    return np.concatenate(chosen).astype(np.int64)


def _health(z: Floats, plain: Floats, rows: Ints, y: Floats, w: Floats, life: float) -> Floats:
    """Coefficients of three indices: of the readings, of their middle window, of the readings in the last half life.

    Ridge regression; an index is in tenths of a standard deviation of the target, so its size needs no unit.
    """
    count = z.shape[1]
    late = rows[y < min(float(y.max()), 0.6 * life)]
    late = late if len(late) > 3 * count else rows
    of = dict(zip(rows.tolist(), range(len(rows)), strict=True))
    at_late = np.array([of[i] for i in late.tolist()])
    found = []
    for x, t, v in (
        (z[rows], y, w),
        (plain[rows, count : 2 * count], y, w),
        (z[late], y[at_late], w[at_late]),
    ):
        a = np.column_stack([np.nan_to_num(x), np.ones(len(x))])
        penalty = np.diag([10.0 + 0.001 * len(x)] * count + [1e-9])
        found.append(np.linalg.solve(a.T @ (a * v[:, None]) + penalty, a.T @ (t * v)))
    return np.column_stack(found) / max(float(y.std()), 1e-9)


def _indices(z: Floats, health: Floats) -> Floats:
    return np.asarray(np.nan_to_num(z) @ health[:-1] + health[-1], dtype=np.float64)


def _short(indices: Floats, h: History, rows: Ints, windows: tuple[int, int, int]) -> Floats:
    """The health indices over the windows and over twice as long ones: noise of a sum wants a longer mean."""
    wide = (2 * windows[0], 2 * windows[1], 2 * windows[2])
    return np.hstack([features.describe(indices, h, rows, w)[:, :-1] for w in (windows, wide)])


def _with_age(x: Floats, h: History, rows: Ints) -> Floats:
    return np.column_stack([x, h.clock[rows]])


def _mean_left(lives: Floats, age: Floats) -> Floats:
    """Mean remaining life of the training machines that got as old; beyond the oldest, a tenth of the median life."""
    older = lives[None, :] > age[:, None]
    mean = (np.where(older, lives - age[:, None], 0).sum(axis=1)) / np.maximum(older.sum(axis=1), 1)
    return np.where(older.any(axis=1), mean, np.median(lives) / 10)


def _stack(blind: Floats, y: Floats, w: Floats | None, machines: int) -> Floats:
    """Weights of the parts, none negative: least squares, drawn towards equal weights as if by three machines more."""
    from scipy.optimize import nnls

    parts = blind.shape[1]
    root = np.sqrt(np.ones(len(y)) if w is None else w)
    draw = np.sqrt(3.0 / machines * len(y)) * max(float(y.std()), 1e-9) * np.eye(parts)
    even = np.array([1.0, 1.0, 0.0, 1.0][:parts])
    even = even / even.sum()
    weights, _ = nnls(np.vstack([blind * root[:, None], draw]), np.concatenate([y * root, draw @ even]))
    return np.asarray(weights, dtype=np.float64)


def _spread(model: LifeModel, value: Floats, coverage: float, ahead: Floats) -> tuple[Floats, Floats, Floats]:
    """Interval and the probability to fail within `ahead`, from the errors at moments with a like forecast.

    The errors of one machine are much alike, so machines count, not moments: the errors are taken from ten machines'
    worth of moments or more, and stretched as a normal sample of so few stretches its interval for one value more
    (by 1.5 for 4 lives, 1.1 for 12, 1.02 for 100).
    """
    from scipy.stats import norm, t

    n, lives = len(model.forecasts), len(model.lives)
    near = min(n, max(40, int(n * max(1 / 8, 10 / lives))))
    # the finite-sample step of split conformal prediction: ask for a little more than the coverage
    wanted = min(1.0, coverage * (1 + 1 / near))
    level = (1 + min(coverage, 0.999)) / 2
    errors = model.errors * float(t.ppf(level, lives - 1) / norm.ppf(level) * np.sqrt(1 + 1 / lives))
    begin = np.searchsorted(model.forecasts, value)
    low, high, sure = np.empty(len(value)), np.empty(len(value)), np.empty(len(value))
    for i, v in enumerate(value):
        a = int(np.clip(begin[i] - near // 2, 0, n - near))
        like = v + errors[a : a + near]
        low[i], high[i] = np.quantile(like, [(1 - wanted) / 2, (1 + wanted) / 2])
        sure[i] = float((like <= ahead[i]).mean())
    low, high = np.clip(low, 0, None), np.clip(high, 0, model.cap)
    return np.minimum(low, value), np.maximum(high, value), sure


def _normal(
    h: History, z: Floats, end: Floats, windows: tuple[int, int, int], final: dict[str, Any], parts: _Parts
) -> tuple[Floats, Floats]:
    """What recent means look like in the first third of a life, and how much the model makes of each signal."""
    count = z.shape[1]
    early = np.flatnonzero(h.clock < np.repeat(end, np.diff(h.starts)) / 3)
    early = early if len(early) >= 10 else np.arange(len(z))
    recent = parts.plain[early, count : 2 * count]
    deviation = np.nanstd(recent, axis=0)
    normal = np.vstack([np.nanmean(recent, axis=0), np.maximum(np.nan_to_num(deviation), 0.05)])
    gains = boost.gains(final["full"])
    wide = len(features.SAYINGS) * count
    direct = gains[:wide].reshape(-1, count).sum(axis=0)
    share = np.abs(final["health"][:-1, 2])
    share = share / max(float(share.sum()), 1e-12)
    return np.nan_to_num(normal), direct + gains[wide + 1 :].sum() * share
