"""Will it fail, or is it so: boosted trees and a logistic regression, mixed and calibrated out of fold.

Two forms of truth. Labels: `value` 0 or 1 for each subject, whose whole record up to the label is judged (a part, a
test, a tool). Failures with a date: then moments of the machines' past are judged by whether a failure came within
the use case's horizon; a moment whose horizon reaches past the record is left out, for nobody knows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from unibody.errors import SetupError
from unibody.plants.failure import answers, boost, features, history, regimes
from unibody.plants.failure.history import Floats, History, Ints

if TYPE_CHECKING:
    from unibody.plants.failure import Settings
    from unibody.solution import UseCase

_PAIRS_MOST = 8  # of so few numbers, products, differences and ratios are tried: power is torque times speed
_PIECES = 12  # a labelled record is cut into so many pieces, each judged by itself
_MOMENTS_MOST = 8_000  # 18,000 take four times as long and tell hardly more
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class EventModel(regimes.Basis):
    """What was learned about an event."""

    form: str  # "row": a subject is one row of values, "record": a stretch of readings, "moment": within the horizon
    windows: Ints  # in rows, for "moment"
    horizon_hours: float
    trees: bytes
    base_trees: bytes  # of the model this one was adapted from, else empty
    line: Floats  # logistic regression: centre, scale, coefficient of each feature; its offset stands in the last column
    mix: float  # share of the trees in the log odds
    calibration: Floats  # slope and offset from log odds to calibrated log odds
    yes_from: float  # probability from which the label is yes
    rate: float  # share of yes among the training subjects or moments
    normal: Floats  # per signal: mean and deviation where the answer is no


def learn(
    readings: pl.DataFrame, truth: pl.DataFrame, case: UseCase, settings: Settings, base: Any
) -> EventModel:
    """Learn from labelled subjects, or from dated failures and a horizon."""
    # with a horizon the truth is dated events, and a stated 0 says that nothing happened
    truth = truth.filter(pl.col("value").is_null() | (pl.col("value") > 0)) if case.horizon_hours else truth
    labelled = truth.clear() if case.horizon_hours else truth.filter(pl.col("value").is_not_null())
    h = history.gather(readings, settings.name_signal)
    if labelled.is_empty():
        if not case.horizon_hours:
            raise SetupError(
                f"use case {case.name}: its truth has dates but no 0/1 `value`; state `horizon_hours`, the time within "
                "which a failure counts, or give each subject a value"
            )
        form = "moment"
    else:
        form = "row" if np.median(np.diff(h.starts)) == 1 else "record"
    stretch = history.stretch_of(h, 5_000) if form == "moment" else 0.0
    h = history.condense(h, stretch)
    basis = replace(regimes.find(h, normalise=form != "row"), stretch=stretch)
    if not basis.signals:
        raise SetupError(
            f"use case {case.name}: no signal of {len(h.signals)} varies; there is nothing to learn from"
        )
    notes = [basis.notes]
    if isinstance(base, EventModel) and base.form == form and set(base.signals) <= set(basis.signals):
        keep = [basis.signals.index(s) for s in base.signals]
        basis = replace(
            basis, signals=base.signals, mean=basis.mean[:, keep], deviation=basis.deviation[:, keep]
        )
        notes.append("adapted: the base's log odds are one feature more")
    elif base is not None:
        notes.append("base not used: other signals, kind or form of truth; learned plainly")
        base = None
    each = np.diff(h.at)[np.diff(h.owner) == 0]
    hour_rows = (
        (case.horizon_hours or 0.0) * _HOUR_US / max(float(np.median(each)) if len(each) else 1.0, 1.0)
    )
    windows = np.array(features.windows_of(min(max(5 * hour_rows, 40.0), 5_000.0)), dtype=np.int64)
    if form == "moment":
        rows, silent, y = _moments(h, truth, float(case.horizon_hours or 0.0))
        x, unit = _moment_features(basis, h, rows, silent, _three(windows)), np.arange(len(rows))
        group = h.owner[rows] if len(set(h.owner[rows].tolist())) >= 5 else _blocks(h.at[rows], 5)
    else:
        label = {
            r["subject"]: float(r["value"] > 0) for r in labelled.sort("happened_at").iter_rows(named=True)
        }
        place = [m for m, machine in enumerate(h.machines) if machine in label]
        y = np.array([label[h.machines[m]] for m in place])
        x, unit = _record_features(basis, h, np.array(place, dtype=np.int64), form)
        group = _blocks(h.at[h.starts[:-1]][place], 5) if len(y) >= 200 else _dealt(y)
    if len(y) < 4 or not 0 < y.sum() < len(y):
        what = "moments" if form == "moment" else "subjects"
        raise SetupError(
            f"use case {case.name}: {len(y)} {what} with a known answer, {int(y.sum())} of them yes; learning takes "
            "4 or more, with both answers among them"
        )
    if base is not None:
        x = np.column_stack([x, boost.predict(base.trees, x)])
    weight = 1.0 / np.bincount(unit)[unit]
    # more rows can be told with fewer folds
    count = min(5 if len(y) >= 2000 else 10, len(np.unique(group)))
    group = np.unique(group, return_inverse=True)[1] % count
    odds = np.full((len(y), 2), np.nan)

    def fold(g: int) -> bytes:
        inside, asked = group != g, group == g
        if g == count:
            return boost.fit(x, y[unit], weight, seeds=settings.seeds, **_options(form, y))
        if not asked.any() or not 0 < y[inside].sum() < inside.sum():
            odds[asked] = _odds(np.array(y.mean()))
            return b""
        part = inside[unit]
        text = boost.fit(x[part], y[unit[part]], weight[part], **_options(form, y))
        odds[asked, 0] = _mean_by(
            boost.predict(text, x[asked[unit]]), unit[asked[unit]], np.flatnonzero(asked)
        )
        line = _line(x, y, unit, inside)
        odds[asked, 1] = _mean_by(_line_odds(line, x[asked[unit]]), unit[asked[unit]], np.flatnonzero(asked))
        return text

    trees = boost.together(fold, range(count, -1, -1))[0]
    tried = [(_loss(m * odds[:, 0] + (1 - m) * odds[:, 1], y), -m) for m in (0.0, 0.25, 0.5, 0.75, 1.0)]
    mix = -min(tried)[1]
    blind = mix * odds[:, 0] + (1 - mix) * odds[:, 1]
    calibration = _calibrate(blind, y)
    p = _probability(calibration[0] * blind + calibration[1])
    yes_from = settings.yes_from if settings.yes_from is not None else _best_f1(p, y)
    notes.append(
        f"{len(y)} {'moments' if form == 'moment' else 'subjects'}, {y.mean():.2%} yes; trees {mix:.2f}, logistic "
        f"{1 - mix:.2f}; out-of-fold average precision {_precision(p, y):.3f}; yes from {yes_from:.3f}"
    )
    normal = _normal(basis, h, rows if form == "moment" else np.array(place), y, form)
    return EventModel(
        **{f.name: getattr(basis, f.name) for f in fields(regimes.Basis) if f.name != "notes"},
        notes="; ".join(notes),
        form=form,
        windows=windows,
        horizon_hours=float(case.horizon_hours or 0.0),
        trees=trees,
        base_trees=base.trees if base is not None else b"",
        line=_line(x, y, unit, np.ones(len(y), dtype=bool)),
        mix=float(mix),
        calibration=calibration,
        yes_from=float(yes_from),
        rate=float(y.mean()),
        normal=normal,
    )


def decide(model: EventModel, readings: pl.DataFrame, case: UseCase, settings: Settings) -> pl.DataFrame:
    """Say for each machine how probable the event is: within the horizon after its last reading, or as labelled."""
    h = model.gather(readings, settings.name_signal)
    everyone = np.arange(len(h.machines))
    # asked now, when the newest reading of all came in; of who is silent for longer, at its own last reading
    silent = h.at.max() - h.at[h.last]
    silent = np.where(silent <= model.horizon_hours * _HOUR_US, silent, 0)
    if model.form == "moment":
        x, unit = _moment_features(model, h, h.last, silent / _HOUR_US, _three(model.windows)), everyone
    else:
        x, unit = _record_features(model, h, everyone, model.form)
    if model.base_trees:
        x = np.column_stack([x, boost.predict(model.base_trees, x)])
    odds = model.mix * boost.predict(model.trees, x) + (1 - model.mix) * _line_odds(model.line, x)
    odds = _mean_by(odds, unit, everyone)
    p = _probability(model.calibration[0] * odds + model.calibration[1])
    push = _push(model, x, unit, everyone)
    departure = (
        _levels(model, h, h.last if model.form == "moment" else everyone, model.form) - model.normal[0]
    ) / (model.normal[1])
    worth = settings.cost_of_stop_eur * p - settings.cost_of_visit_eur
    within = f" within {model.horizon_hours:g} h" if model.form == "moment" else ""
    found = []
    for m, machine in enumerate(h.machines):
        order = [
            i for i in np.argsort(-push[m], kind="stable")[:3] if push[m][i] > max(0.1, push[m].max() / 4)
        ]
        ways = [(model.signals[i], "high" if np.nan_to_num(departure[m][i]) > 0 else "low") for i in order]
        yes = p[m] >= model.yes_from
        end = answers.instant(h.at[h.last[m]] + int(model.horizon_hours * _HOUR_US))
        at = answers.instant(h.at[h.last[m]])
        since = h.at[max(int(h.starts[m]), int(h.last[m]) - int(model.windows[2]) + 1)]
        usual = f"{answers.percent(p[m])} likely{within} ({answers.percent(model.rate)} is usual)"
        found.append(
            {
                "subject": machine,
                "decided_at": at,
                "window": f"{at.isoformat()}/{end.isoformat()}" if model.form == "moment" else None,
                "action": "look at it" if yes or worth[m] > 0 else "keep running",
                "reason": answers.reason(
                    f"{h.called[m]}: {usual}: {'yes' if yes else 'no'}", ways, "no signal speaks for it"
                ),
                "evidence": answers.evidence(
                    machine, [s for s, _ in ways] or model.signals,
                    since if model.form == "moment" else h.at[h.starts[m]], h.at[h.last[m]],
                ),
                "score": float(p[m]), "value": float(p[m]), "label": "yes" if yes else "no",
                "worth_eur": float(worth[m]), "sure": float(p[m]),
            }
        )  # fmt: skip
    return answers.frame(found)


def _moments(h: History, truth: pl.DataFrame, horizon_hours: float) -> tuple[Ints, Floats, Floats]:
    """Past moments as they will be asked about: row of the last reading, hours since then, and what came.

    They are evenly spread over each machine's record and the horizon after its end: a part that failed is silent, and
    nobody may be told that it is about to fail.
    """
    horizon = int(horizon_hours * _HOUR_US)
    each = max(20, _MOMENTS_MOST // len(h.machines))
    failed = truth.group_by("subject").agg(pl.col("happened_at").dt.epoch("us").sort())
    dates = {s: np.array(d, dtype=np.int64) for s, d in failed.iter_rows()}
    rows, silent, y = [], [], []
    for m, machine in enumerate(h.machines):
        at, date = h.at[h.rows(m)], dates.get(machine, np.zeros(0, dtype=np.int64))
        until = min(at[-1] + horizon, h.at.max())
        now = np.unique(np.linspace(at[0], until, each).astype(np.int64))
        place = np.searchsorted(at, now, side="right") - 1
        comes = np.append(date, np.iinfo(np.int64).max)[np.searchsorted(date, now, side="right")]
        yes = comes - now <= horizon
        # the record may end with the failure itself: what comes before it is known, and after it there is nothing more
        failure = date[-1] if len(date) else at[0] - 1
        known = yes | (now + horizon <= max(at[-1], failure)) | ((failure >= at[-1]) & (now > failure))
        rows.append(h.starts[m] + place[known])
        silent.append((now - at[place])[known] / _HOUR_US)
        y.append(yes[known].astype(float))
    return np.concatenate(rows), np.concatenate(silent), np.concatenate(y)


def _moment_features(
    basis: regimes.Basis, h: History, rows: Ints, silent: Floats, windows: tuple[int, int, int]
) -> Floats:
    x = features.describe(basis.corrected(h), h, rows, windows)
    # hours since the first reading only say where the record begins; usage says how worn it is
    x = x if basis.on_usage else x[:, :-1]
    return np.column_stack([x, silent, history.carry(h.columns(basis.settings), h)[rows]])


def _record_features(basis: regimes.Basis, h: History, machines: Ints, form: str) -> tuple[Floats, Ints]:
    """Features of each subject's pieces, and the place of the subject that each piece belongs to."""
    z = basis.corrected(h) if form == "record" else h.columns(basis.signals)
    if form == "row":
        x = z[h.last[machines]]
        return np.hstack([x, _pairs(basis.signals, x)]), np.arange(len(machines))
    pieces, unit = [], []
    for place, m in enumerate(machines.tolist()):
        rows = np.arange(h.starts[m], h.starts[m + 1])
        for part in np.array_split(rows, min(_PIECES, len(rows))):
            known = np.isfinite(z[part])
            count = np.maximum(known.sum(axis=0), 1)
            mean = np.where(known, z[part], 0).sum(axis=0) / count
            rest = np.where(known, z[part] - mean, 0)
            step = np.abs(np.diff(rest, axis=0)).mean(axis=0) if len(part) > 1 else np.zeros(len(mean))
            mean = np.where(known.any(axis=0), mean, np.nan)
            pieces.append(np.concatenate([mean, np.sqrt((rest**2).sum(axis=0) / count), step]))
            unit.append(place)
    return np.vstack(pieces), np.array(unit)


def _numbers(signals: tuple[str, ...]) -> list[int]:
    return [i for i, s in enumerate(signals) if "=" not in s]


def _pairs(signals: tuple[str, ...], x: Floats) -> Floats:
    """Product, difference and ratio of every two of few numbers."""
    numbers = _numbers(signals)
    if not 2 <= len(numbers) <= _PAIRS_MOST:
        return np.zeros((len(x), 0))
    made = []
    for a, b in combinations(numbers, 2):
        ratio = np.divide(x[:, a], x[:, b], out=np.full(len(x), np.nan), where=np.abs(x[:, b]) > 1e-12)
        made += [x[:, a] * x[:, b], x[:, a] - x[:, b], ratio]
    return np.column_stack(made)


def _push(model: EventModel, x: Floats, unit: Ints, everyone: Ints) -> Floats:
    """How much each signal raised the log odds of each subject: the trees' own contributions (TreeSHAP) and the line's."""
    count = len(model.signals)
    width = x.shape[1]
    terms = model.mix * boost.contributions(model.trees, x)
    terms += (
        (1 - model.mix)
        * np.nan_to_num((x - model.line[0, :width]) / model.line[1, :width])
        * model.line[2, :width]
    )
    by = np.zeros((len(x), count))
    sayings = {"row": 1, "record": 3, "moment": len(features.SAYINGS)}[model.form]
    for i in range(sayings):
        by += terms[:, i * count : (i + 1) * count]
    if model.form == "row":
        for i, (a, b) in enumerate(combinations(_numbers(model.signals), 2)):
            pair = terms[:, count + 3 * i : count + 3 * i + 3].sum(axis=1) / 2
            by[:, a] += pair
            by[:, b] += pair
    return np.column_stack([_mean_by(by[:, i], unit, everyone) for i in range(count)])


def _levels(basis: regimes.Basis, h: History, places: Ints, form: str) -> Floats:
    """Level of each signal at the moments or over the subjects' records."""
    z = basis.corrected(h) if form != "row" else h.columns(basis.signals)
    if form == "moment":
        return np.asarray(z[places], dtype=np.float64)
    known = np.isfinite(z)
    total = np.add.reduceat(np.where(known, z, 0.0), h.starts[:-1], axis=0)
    count = np.maximum(np.add.reduceat(known.astype(float), h.starts[:-1], axis=0), 1)
    level: Floats = total / count
    return np.asarray(level[places], dtype=np.float64)


def _normal(basis: regimes.Basis, h: History, places: Ints, y: Floats, form: str) -> Floats:
    no = _levels(basis, h, places, form)[y == 0]
    found = np.vstack([np.nanmean(no, axis=0), np.maximum(np.nanstd(no, axis=0), 1e-9)])
    return np.asarray(np.nan_to_num(found), dtype=np.float64)


def _line(x: Floats, y: Floats, unit: Ints, inside: Any) -> Floats:
    """Logistic regression on the subjects' mean features, strongly drawn to zero: the safe part where subjects are few."""
    from sklearn.linear_model import LogisticRegression

    whole = np.column_stack([_mean_by(x[:, i], unit, np.arange(len(y))) for i in range(x.shape[1])])[inside]
    centre = np.nan_to_num(np.nanmean(np.where(np.isfinite(whole).any(axis=0), whole, 0.0), axis=0))
    scale = np.maximum(np.nan_to_num(np.nanstd(whole - centre, axis=0)), 1e-9)
    a = np.clip(np.nan_to_num((whole - centre) / scale), -5, 5)
    fitted = LogisticRegression(C=1.0 / x.shape[1], max_iter=300).fit(a, y[inside])
    last = np.array([[0.0], [1.0], [float(fitted.intercept_[0])]])
    return np.hstack([np.vstack([centre, scale, fitted.coef_[0]]), last])


def _line_odds(line: Floats, x: Floats) -> Floats:
    a = np.clip(np.nan_to_num((x - line[0, :-1]) / line[1, :-1]), -5, 5)
    return np.asarray(a @ line[2, :-1] + line[2, -1], dtype=np.float64)


def _calibrate(odds: Floats, y: Floats) -> Floats:
    """Slope and offset after Platt (1999), with his smoothed targets; the slope is never negative."""
    from scipy.optimize import minimize

    yes, no = y.sum(), len(y) - y.sum()
    target = np.where(y > 0, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(v: Floats) -> float:
        u = v[0] * odds + v[1]
        return float(np.mean(np.logaddexp(0, u) - target * u))

    found = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, 10.0), (-20.0, 20.0)])
    return np.asarray(found.x, dtype=np.float64)


def _loss(odds: Floats, y: Floats) -> float:
    return round(float(np.mean(np.logaddexp(0, odds) - y * odds)), 6)


def _probability(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))), dtype=np.float64)


def _odds(p: Floats) -> Floats:
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)), dtype=np.float64)


def _best_f1(p: Floats, y: Floats) -> float:
    """Where F1 is best: at half of its best value, for calibrated probabilities (Lipton et al., 2014).

    That value is steadier than the best cut itself, which hangs on single subjects.
    """
    hits = np.cumsum(y[np.argsort(-p, kind="stable")])
    return float(np.max(2 * hits / (np.arange(1, len(y) + 1) + y.sum()))) / 2


def _precision(p: Floats, y: Floats) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(y, p))


def _mean_by(x: Floats, unit: Ints, units: Ints) -> Floats:
    """Mean of the pieces of each of `units`."""
    size = int(max(unit.max(), units.max())) + 1
    known = np.isfinite(x)
    total = np.bincount(unit, np.where(known, x, 0), size)[units]
    count = np.bincount(unit, known.astype(float), size)[units]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _blocks(at: Ints, count: int) -> Ints:
    """Contiguous blocks in time: neighbours stay together."""
    place = np.empty(len(at), dtype=np.int64)
    place[np.argsort(at, kind="stable")] = np.arange(len(at))
    return place * count // max(len(at), 1)


def _dealt(y: Floats) -> Ints:
    """Few subjects, dealt round to six folds so that each has both answers where possible."""
    place = np.empty(len(y), dtype=np.int64)
    place[np.argsort(y, kind="stable")] = np.arange(len(y))
    return place % min(6, len(y))


def _options(form: str, y: Floats) -> dict[str, Any]:
    row = form == "row"
    return {
        "yes_no": True,
        "trees": 300 if len(y) >= 200 else 100,
        "bold": form == "moment",
        "share": 0.8 if row else 0.4,
        "sharp": row,
    }


def _three(windows: Ints) -> tuple[int, int, int]:
    return int(windows[0]), int(windows[1]), int(windows[2])
