"""Run a use case: judge it, learn, keep the model, decide, and put the decisions before people.

Every step is remembered by what it rests on (data versions, settings, code), so a run that was killed goes on where
it stopped, and running twice on the same facts changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl

from unibody import engine, models
from unibody.backbone import judge as judging
from unibody.backbone.questions import clock, folds, standing, truth_of, without_truth
from unibody.errors import SetupError
from unibody.gate import Cut, opened
from unibody.lake import Lake
from unibody.ledger import Ledger
from unibody.methods import scores
from unibody.solution import UseCase, decided, learned
from unibody.tables import Decision, Instant

Progress = Callable[[str, int, int], None]

#: What makes a decision another one: if none of these differ, nothing new is said.
CONTENT = ("action", "reason", "score", "value", "low", "high", "label", "worth_eur", "sure", "bundle")


@dataclass(frozen=True)
class Ran:
    """What a run did."""

    usecase: str
    model: str
    decisions: int  # answers given
    new: int  # of these, new or changed
    live: bool  # the model decided with is the one learned now
    judgement: judging.Judgement | None
    held_back: (
        bool  # every subject's outcome is known already: these are the answers given before it was seen
    )

    def plain(self) -> dict[str, Any]:
        """As `run --json` shows it."""
        return {
            "usecase": self.usecase,
            "model": self.model,
            "decisions": self.decisions,
            "new": self.new,
            "held_back": self.held_back,
            "score": self.judgement.plain() if self.judgement else None,
        }


def run(
    case: UseCase,
    module: ModuleType,
    lake: Lake,
    ledger: Ledger,
    home: Path,
    limit: int,
    *,
    as_of: datetime | None = None,
    progress: Progress | None = None,
) -> Ran:
    """Judge, learn, decide, propose.

    With `as_of` it decides as it would have then, with what was known then, by the model that is live now.
    """
    key = judging.snapshot(lake, case, module)
    number = ledger.begin_run(case.name, key)
    try:
        done = _run(case, module, lake, ledger, home, limit, key, as_of, progress)
    except BaseException as e:
        ledger.end_run(number, None, f"{type(e).__name__}: {e}")
        raise
    ledger.end_run(number, done.decisions)
    return done


def _run(
    case: UseCase,
    module: ModuleType,
    lake: Lake,
    ledger: Ledger,
    home: Path,
    limit: int,
    key: str,
    as_of: datetime | None,
    progress: Progress | None,
) -> Ran:
    say = progress or (lambda _what, _done, _all: None)
    judgement = judging.judge(case, module, lake, ledger, home, limit, progress) if case.truth else None
    registry = models.Models(home / "models")
    live = registry.live(case.name)
    # a challenger that lost, or was kept when the process died, is not learned again
    kept = next((k for k in registry.versions(case.name) if k.tags.get("snapshot") == key), None)
    won = kept is not None and kept.tags.get("made_live") == str(True)
    if kept is not None and won and (live is None or live.version < kept.version):
        registry.make_live(kept)
        live = kept
    if live is None or kept is None:
        say(f"{case.name}: learning", 0, 1)
        live = _learn(case, module, lake, ledger, limit, key, judgement, registry, live)
    model = models.load(live.folder, module)
    say(f"{case.name}: deciding", 0, 1)
    cut, held_back = _open_subjects(case, module, lake, as_of)
    blind = without_truth(case)
    tables = opened(lake, ledger, blind, module.READS, "decide", cut=cut, as_of=as_of, limit=limit)
    answers = judging.checked(decided(module, model, tables, blind), case)
    new = _propose(answers, case, lake, ledger, live.name)
    return Ran(
        case.name, live.name, answers.height, new, live.tags.get("snapshot") == key, judgement, held_back
    )


def _learn(
    case: UseCase,
    module: ModuleType,
    lake: Lake,
    ledger: Ledger,
    limit: int,
    key: str,
    judgement: judging.Judgement | None,
    registry: models.Models,
    live: models.Kept | None,
) -> models.Kept:
    """Learn from all that may be learned from; keep it; make it live unless it answers worse than the live one."""
    tables = opened(
        lake, ledger, case, module.READS, "learn", cut=_learnable(case, module, lake), limit=limit
    )
    model = learned(module, tables, case, _base(case, module, registry))
    answers = judgement.pairs() if judgement else None
    better, gain = True, None
    if live is not None and answers is not None:
        gain = _gain(live.answers(), answers, case)
        better = gain is None or gain >= 0
    metrics = (
        {}
        if judgement is None
        else {judgement.score.metric: judgement.score.ours, "gain": judgement.score.gain}
    )
    tags = {
        "snapshot": key,
        "settings": repr(case.settings),
        "code": judging.code_version(module),
        "beats": str(judgement.beats) if judgement else "not judged",
        "gain_over_live": "" if gain is None else f"{gain:.6g}",
        "made_live": str(better),
    }
    kept = registry.keep(case.name, model, answers, tags, metrics, better)
    return kept if better or live is None else live


def _gain(before: pl.DataFrame, now: pl.DataFrame, case: UseCase) -> float | None:
    """How much better the new answers are on the questions that both were asked; None where there is none."""
    if before.is_empty():
        return None
    ids = ["unit", "subject", "at"]
    common = (
        now.select(*ids, "truth")
        .join(before.select(*ids), on=ids, how="semi")
        .unique(ids, maintain_order=True)
    )
    if common.is_empty():
        return None
    both = [
        f.unique(ids, keep="first", maintain_order=True)
        .join(common.select(ids), on=ids, how="semi")
        .sort(ids)
        for f in (before, now)
    ]
    try:
        return scores.challenger_wins(both[0], both[1], case.kind, cap=case.cap)[0]
    except SetupError:
        return None  # the common questions are too few to tell


def _base(case: UseCase, module: ModuleType, registry: models.Models) -> Any:
    """The model that `starts_from` names, if it is of this solution."""
    if not case.starts_from:
        return None
    base = registry.live(case.starts_from)
    if base is None:
        raise SetupError(
            f"use case {case.name}: starts_from {case.starts_from!r} has no live model; run it first"
        )
    return models.load(base.folder, module)


def _learnable(case: UseCase, module: ModuleType, lake: Lake) -> Cut:
    """All rows, but for a published test part, which no model of ours ever learns from."""
    if case.split is not None and case.split.how == "is":
        return next(folds(lake, case, module)).learn
    return Cut()


def _open_subjects(case: UseCase, module: ModuleType, lake: Lake, as_of: datetime | None) -> tuple[Cut, bool]:
    """The subjects whose outcome is not known yet; where there are none, those that judging held back."""
    if case.truth is None:
        return Cut(), False
    if case.kind in ("life", "event"):
        truth = truth_of(lake, case)
        everyone = clock(lake, case, module, as_of).group_by("subject").agg(last=pl.col("at").max())
        if case.kind == "event" and case.horizon_hours:
            # dated events: who had one may have another, but not who is silent since then, or for longer
            seen = everyone.rename({"last": "at"})
            recent = pl.col("at") >= pl.col("at").max() - timedelta(hours=case.horizon_hours)
            running = standing(seen.filter(recent), truth, as_of or datetime.now(UTC))
            return Cut(running.select("subject").sort("subject")), False
        ended = truth.filter(pl.col("remaining").is_null())
        if as_of is not None:
            ended = ended.filter(pl.col("happened_at") < as_of)
        still = (
            everyone.join(ended.select("subject"), on="subject", how="anti").select("subject").sort("subject")
        )
        if still.height:
            return Cut(still), False
        return folds_last(case, module, lake), True
    return Cut(), False


def folds_last(case: UseCase, module: ModuleType, lake: Lake) -> Cut:
    """What the last fold is asked about: where all is known, its subjects stand for the running ones."""
    *_, last = folds(lake, case, module)
    return last.passes[-1].cut


def decision_id(usecase: str, subject: str, window: str) -> str:
    """The id of a decision: the same question about the same subject and window has the same."""
    return sha256(f"{usecase}\n{subject}\n{window}".encode()).hexdigest()[:16]


def _propose(answers: pl.DataFrame, case: UseCase, lake: Lake, ledger: Ledger, model: str) -> int:
    """Append what is new or changed to the lake, then put it before people; a kill between the two loses nothing."""
    if answers.is_empty():
        return 0
    ids = [
        decision_id(case.name, s, w or "") for s, w in zip(answers["subject"], answers["window"], strict=True)
    ]
    said = (
        answers.with_columns(decision_id=pl.Series(ids))
        .sort("decided_at")
        .unique("decision_id", keep="last", maintain_order=True)
    )
    known = latest(lake, case.name)
    joined = said.join(
        known.select("decision_id", "revision", *(pl.col(c).alias(f"_{c}") for c in CONTENT)),
        on="decision_id",
        how="left",
        maintain_order="left",
    )
    same = (
        pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"_{c}")) for c in CONTENT)
        & pl.col("revision").is_not_null()
    )
    fresh = joined.filter(~same)
    now = datetime.now(UTC)
    if fresh.height:
        rows = fresh.with_columns(
            revision=pl.col("revision").fill_null(0) + 1,
            usecase=pl.lit(case.name),
            model=pl.lit(model),
            risk=pl.lit(case.risk),
            known_at=pl.lit(now, Instant),
            known_assumed=False,
            deleted=False,
            record=pl.int_range(pl.len(), dtype=pl.Int64),
        )
        source = f"usecase:{case.name}"
        # named by content: the same answers, proposed again after a kill, are appended once
        batch = sha256(repr(rows.select("decision_id", "revision").rows()).encode()).hexdigest()[:16]
        lake.append(Decision, rows, source, model, now, 0, app=f"{source}:{batch}")
    current = latest(lake, case.name).join(said.select("decision_id"), on="decision_id", how="semi")
    ledger.propose(dict(current.select("decision_id", "revision").iter_rows()), by=f"usecase {case.name}")
    return fresh.height


def latest(lake: Lake, usecase: str | None = None) -> pl.DataFrame:
    """The last revision of each decision, of one use case or all."""
    expr = lake.rows(Decision)
    if usecase is not None:
        expr = expr.filter(expr["usecase"] == usecase)
    found = engine.frame(expr.select(*Decision.columns, "known_at"))
    return found.sort("decision_id", "revision").unique("decision_id", keep="last", maintain_order=True)
