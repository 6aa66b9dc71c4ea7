"""What a use case is asked when it is judged: the folds it learns from, the moments it is asked at, the truth.

The backbone cuts, never the solution. A fold is: what `learn` may see, and some passes; a pass is what `decide` may
see and the questions whose answers it must give. Splits are by subject, group, block or time, never by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import ModuleType

import numpy as np
import polars as pl

from unibody import engine
from unibody.backbone.parts import SEED, edge, parts
from unibody.errors import SetupError
from unibody.gate import Cut, filtered, subject_column
from unibody.lake import Lake
from unibody.solution import Kind, UseCase
from unibody.tables import Outcome

MOMENTS = 4  # times in its life at which a subject that ran to failure is asked about
EDGES = 5  # times in the test part of a span at which the lives then running are asked about
GRID = 24  # instants at which all subjects are asked whether they fail within the horizon
QUESTION = ("unit", "subject", "at", "usage", "truth", "truth_label")


@dataclass(frozen=True)
class Pass:
    """One call of `decide`: what it may see, and the questions (columns of QUESTION) to be answered."""

    cut: Cut
    questions: pl.DataFrame
    by_instant: bool = False  # answers belong to a subject AND an instant


@dataclass(frozen=True)
class Fold:
    """What is learned from, and what is then asked; `past` is the training part's truth, as questions."""

    name: str
    learn: Cut
    passes: tuple[Pass, ...]
    past: pl.DataFrame


def truth_of(lake: Lake, case: UseCase) -> pl.DataFrame:
    """The outcome rows a use case is judged by; SetupError where it has none."""
    if case.truth is None:
        raise SetupError(f"use case {case.name}: states no truth, so it cannot be judged")
    rows = filtered(lake.rows(Outcome), Outcome, case)
    found = engine.frame(rows.select(*Outcome.columns))
    if found.is_empty():
        there = engine.frame(lake.rows(Outcome)["truth"].value_counts())["truth"].to_list()
        raise SetupError(
            f"use case {case.name}: no outcome rows of truth {case.truth!r}; there are {', '.join(map(str, there)) or 'none'}"
        )
    # rows of one subject and instant have one key; the order must not depend on how the lake stores them
    return found.sort("subject", "happened_at")


def clock(lake: Lake, case: UseCase, module: ModuleType, as_of: datetime | None = None) -> pl.DataFrame:
    """Every subject's instants: subject, at, usage (null where the table counts none), sorted."""
    import ibis

    for table in module.READS:
        name = subject_column(table, case)
        if table is Outcome or name is None:
            continue
        rows = filtered(lake.rows(table, as_of), table, case)
        usage = rows[table.usage_in] if table.usage_in else ibis.null("float64")
        rows = rows.select(subject=rows[name], at=rows[table.at], usage=usage)
        found = engine.frame(rows.group_by("subject", "at").aggregate(usage=rows["usage"].max()))
        return found.sort("subject", "at")
    raise SetupError(f"use case {case.name}: none of its tables has the column {case.subject!r}")


def folds(lake: Lake, case: UseCase, module: ModuleType) -> Iterator[Fold]:
    """The folds of a use case, by its kind and split."""
    truth = truth_of(lake, case)
    # a solution that names its own subjects is asked when their truth holds
    own = truth.select("subject", at="happened_at", usage="usage")
    ticks = clock(lake, case, module) if case.subject else own
    of_kind = _labels
    if case.kind is Kind.LIFE:
        of_kind = _life
    elif case.kind is Kind.DETECTION:
        of_kind = _detection
    elif case.kind is Kind.EVENT and case.horizon_hours:
        of_kind = _horizon
    for fold in of_kind(lake, case, module, truth, ticks):
        passes = tuple(p for p in fold.passes if p.questions.height)
        if not passes:
            raise SetupError(
                f"use case {case.name}, {fold.name}: there is nothing to ask; does split = '{case.split}' fit the data?"
            )
        yield replace(fold, passes=passes)


# ---- kinds


def _life(
    lake: Lake, case: UseCase, module: ModuleType, truth: pl.DataFrame, ticks: pl.DataFrame
) -> Iterator[Fold]:
    """How much usage is left, asked at moments in each life (or at its last reading, where truth says what is left)."""
    ticks = ticks.rename({"usage": "used"})  # `usage` is the truth's: when it ended
    truth = truth.unique("subject", keep="last", maintain_order=True)
    lives = truth.join(ticks.select("subject").unique(), on="subject", how="semi", maintain_order="left")
    if lives.is_empty():
        raise SetupError(f"use case {case.name}: none of {truth.height} subjects with a truth has readings")
    assert case.split is not None
    if case.split.how == "time":
        yield _lives_in_time(lives, ticks)
        return
    for name, train, test in parts(lake, case, module, lives.select("subject", at="happened_at")):
        asked = _lives_asked(lives.filter(pl.col("subject").is_in(test.implode())), ticks)
        passes = tuple(
            Pass(Cut(q.select("subject", until="at")), q.drop("moment"))
            for (_,), q in asked.group_by(["moment"], maintain_order=True)
        )
        past = _lives_asked(lives.filter(pl.col("subject").is_in(train.implode())), ticks).drop("moment")
        yield Fold(name, Cut(train.to_frame("subject")), passes, past)


def _lives_in_time(lives: pl.DataFrame, ticks: pl.DataFrame) -> Fold:
    """Learned from lives that ended before the test part; those running are asked about at several moments of it."""
    begin, last = edge(ticks["at"]), ticks["at"].max()
    assert isinstance(last, datetime)
    past = lives.filter(pl.col("happened_at") < begin)
    passes, before = [], _life_truth(lives.clear().with_columns(at="happened_at", used="usage"))
    for k in range(EDGES):
        at = begin + (last - begin) * k / EDGES
        then = _ended(lives.filter(pl.col("happened_at") >= at), ticks).join(
            _last(ticks.filter(pl.col("at") < at)), on="subject"
        )
        # who has said nothing since the last time is not asked the same again
        asked = _life_truth(then).join(before, on=["subject", "at"], how="anti", maintain_order="left")
        passes.append(Pass(Cut(asked.select("subject"), before=at), asked))
        before = pl.concat([before, asked])
    return Fold(
        "time",
        Cut(past.select("subject"), before=begin),
        tuple(passes),
        _lives_asked(past, ticks).drop("moment"),
    )


def _last(ticks: pl.DataFrame) -> pl.DataFrame:
    """Each subject's last instant."""
    return ticks.group_by("subject").agg(pl.all().sort_by("at").last()).sort("subject")


def _ended(lives: pl.DataFrame, ticks: pl.DataFrame) -> pl.DataFrame:
    """Lives whose truth says what was left after their last reading, as lives whose truth says when they end."""
    last = _last(ticks).select("subject", at_last="at", used_last="used")
    both = lives.join(last, on="subject", how="left", maintain_order="left")
    hours = pl.duration(microseconds=pl.col("remaining") * 3_600_000_000)
    return both.with_columns(
        usage=pl.coalesce(pl.col("used_last") + pl.col("remaining"), "usage"),
        happened_at=pl.when(pl.col("used_last").is_null())
        .then(pl.coalesce(pl.col("at_last") + hours, "happened_at"))
        .otherwise("happened_at"),
        remaining=pl.lit(None, pl.Float64),
    ).drop("at_last", "used_last")


def _lives_asked(lives: pl.DataFrame, ticks: pl.DataFrame) -> pl.DataFrame:
    """Questions about lives, with `moment`, the number of the pass."""
    ended = lives.filter(pl.col("remaining").is_null())
    random = np.random.default_rng(SEED)
    counted = ticks.join(ended.select("subject"), on="subject", how="semi").with_columns(
        place=pl.int_range(pl.len()).over("subject"), count=pl.len().over("subject")
    )
    parts = []
    for moment in range(MOMENTS):
        share = pl.DataFrame({"subject": ended["subject"], "share": random.uniform(0.2, 0.98, ended.height)})
        wanted = (pl.col("share") * (pl.col("count") - 1)).round().cast(pl.Int64)
        then = counted.join(share, on="subject").filter(pl.col("place") == wanted)
        asked = _life_truth(ended.join(then.select("subject", "at", "used"), on="subject"))
        parts.append(asked.with_columns(moment=moment))
    running = lives.filter(pl.col("remaining").is_not_null())
    parts.append(_life_truth(running.join(_last(ticks), on="subject")).with_columns(moment=0))
    return pl.concat(parts)


def _life_truth(rows: pl.DataFrame) -> pl.DataFrame:
    """What was left at `at`, when `used` was used: as stated, else by usage, else in hours."""
    hours = (pl.col("happened_at") - pl.col("at")).dt.total_seconds() / 3600
    return rows.select(
        unit="subject",
        subject="subject",
        at="at",
        usage="used",
        truth=pl.coalesce("remaining", pl.col("usage") - pl.col("used"), hours).cast(pl.Float64),
        truth_label=pl.lit(None, pl.String),
    )


def _labels(
    lake: Lake, case: UseCase, module: ModuleType, truth: pl.DataFrame, ticks: pl.DataFrame
) -> Iterator[Fold]:
    """One question a truth row, asked when all its readings are in: yes or no, how much, which."""
    if truth["value"].is_null().all() and truth["label"].is_null().all():
        raise SetupError(
            f"use case {case.name}: truth {case.truth!r} has dates but neither value nor label; state horizon_hours, "
            "the time within which the event counts"
        )
    last = (
        ticks.group_by("subject").agg(pl.all().sort_by("at").last()).rename({"usage": "used", "at": "last"})
    )
    rows = truth.join(last, on="subject").with_columns(at="happened_at")
    asked = rows.select(
        unit="subject",
        subject="subject",
        at="at",
        usage="used",
        truth=pl.col("value"),
        truth_label=pl.col("label"),
    )
    for name, train, test in parts(lake, case, module, rows.select("subject", "at")):
        questions = asked.filter(pl.col("subject").is_in(test.implode()))
        past = asked.filter(pl.col("subject").is_in(train.implode()))
        yield Fold(
            name,
            Cut(train.unique().sort().to_frame("subject")),
            (Pass(Cut(questions.select(pl.col("subject").unique().sort())), questions),),
            past,
        )


def _horizon(
    lake: Lake, case: UseCase, module: ModuleType, truth: pl.DataFrame, ticks: pl.DataFrame
) -> Iterator[Fold]:
    """Does it happen within the horizon, asked of every running subject at instants a horizon apart."""
    truth = truth.filter(pl.col("value").is_null() | (pl.col("value") > 0))  # a stated 0: nothing happened
    horizon = timedelta(hours=case.horizon_hours or 0)
    assert case.split is not None
    first, last = ticks["at"].min(), ticks["at"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    border = edge(ticks["at"])

    def grid(begin: datetime, end: datetime) -> list[datetime]:
        count = int((end - begin) / horizon)
        step = max(1, -(-count // GRID))
        return [begin + horizon * k for k in range(0, count, step)]

    def asked(at: datetime, subjects: pl.DataFrame) -> pl.DataFrame:
        then = (
            ticks.filter((pl.col("at") < at) & (pl.col("at") >= at - horizon))
            .group_by("subject")
            .agg(pl.all().sort_by("at").last())
        )
        then = standing(then.join(subjects, on="subject", how="semi"), truth, at)
        hits = truth.filter((pl.col("happened_at") > at) & (pl.col("happened_at") <= at + horizon))[
            "subject"
        ].unique()
        return then.select(
            unit="subject",
            subject="subject",
            at=pl.lit(at).dt.cast_time_unit("us"),
            usage="usage",
            truth=pl.col("subject").is_in(hits.implode()).cast(pl.Float64),
            truth_label=pl.lit(None, pl.String),
        ).sort("subject")

    everyone = ticks.select(pl.col("subject").unique().sort())
    if case.split.how == "time":
        begin = first + horizon
        past = pl.concat(
            [asked(t, everyone) for t in grid(begin, border)] or [asked(border, everyone).clear()]
        )
        passes = tuple(Pass(Cut(before=t), q) for t in grid(border, last) if (q := asked(t, everyone)).height)
        yield Fold("time", Cut(before=border), passes, past)
        return
    places = ticks.group_by("subject").agg(at=pl.col("at").min())
    for name, train, test in parts(lake, case, module, places):
        chosen, learned = test.to_frame("subject"), train.to_frame("subject")
        past = pl.concat([asked(t, learned) for t in grid(first + horizon, last)])
        passes = tuple(
            Pass(Cut(chosen.unique(), before=t), q)
            for t in grid(first + horizon, last)
            if (q := asked(t, chosen)).height
        )
        yield Fold(name, Cut(learned.unique()), passes, past)


def standing(last: pl.DataFrame, events: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Without the subjects that stopped before `at` and said nothing since: asking about them would be too easy.

    `last` holds each subject's last instant `at`, `events` are outcome rows.
    """
    past = (
        events.filter(pl.col("happened_at") <= at)
        .group_by("subject")
        .agg(stopped=pl.col("happened_at").max())
    )
    found = last.join(past, on="subject", how="left", maintain_order="left")
    return found.filter(pl.col("stopped").is_null() | (pl.col("stopped") < pl.col("at"))).drop("stopped")


def _detection(
    lake: Lake, case: UseCase, module: ModuleType, truth: pl.DataFrame, ticks: pl.DataFrame
) -> Iterator[Fold]:
    """Is this instant unusual, asked of every instant; true within the labelled windows."""
    windows = truth.with_columns(ended_at=pl.coalesce("ended_at", "happened_at")).with_row_index("window")
    inside = ticks.join(
        windows.select("subject", "window", "happened_at", "ended_at"), on="subject", how="inner"
    )
    inside = inside.filter(pl.col("at").is_between("happened_at", "ended_at")).unique(
        ["subject", "at"], keep="first", maintain_order=True
    )
    rows = ticks.join(inside.select("subject", "at", "window"), on=["subject", "at"], how="left")
    day = pl.format("{} {}", "subject", pl.col("at").dt.date())
    asked = rows.select(
        unit=pl.when(pl.col("window").is_not_null()).then(pl.format("window {}", "window")).otherwise(day),
        subject="subject",
        at="at",
        usage="usage",
        truth=pl.col("window").is_not_null().cast(pl.Float64),
        truth_label=pl.lit(None, pl.String),
    )
    assert case.split is not None
    if case.split.how == "time":
        first_window = windows["happened_at"].min()
        assert isinstance(first_window, datetime)
        border = min(first_window, edge(ticks["at"]))
        late = asked.filter(pl.col("at") >= border)
        yield Fold(
            "time",
            Cut(before=border),
            (Pass(Cut(), late, by_instant=True),),
            asked.filter(pl.col("at") < border),
        )
        return
    places = ticks.group_by("subject").agg(at=pl.col("at").min())
    for name, train, test in parts(lake, case, module, places):
        late = asked.filter(pl.col("subject").is_in(test.implode()))
        past = asked.filter(pl.col("subject").is_in(train.implode()))
        yield Fold(
            name,
            Cut(train.to_frame("subject")),
            (Pass(Cut(test.to_frame("subject")), late, by_instant=True),),
            past,
        )


def without_truth(case: UseCase) -> UseCase:
    """The use case as `decide` sees it when judged: nothing of the truth is in it."""
    return replace(case, truth=None, split=None)
