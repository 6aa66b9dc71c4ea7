"""Judge a use case: learn on each fold, ask what was held back, score the answers against the truth.

The answers of each fold are kept as they come, so that a judgement that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl

from unibody import __version__, engine
from unibody.backbone.questions import QUESTION, Fold, Pass, folds, without_truth
from unibody.errors import SetupError
from unibody.gate import opened
from unibody.lake import Lake
from unibody.ledger import Ledger
from unibody.methods import scores
from unibody.solution import ANSWER, ANSWER_REQUIRED, UseCase, decided, learned
from unibody.tables import Decision, Outcome, Table

ANSWERED = ("score", "value", "low", "high", "label", "worth_eur")
LEAK_ROWS_MAX = 5_000_000
LEAK_QUESTIONS = 500  # as many tell enough
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Judgement:
    """A use case's score, and what stands beside it."""

    usecase: str
    kind: str
    score: scores.Score
    leaks: tuple[str, ...]
    split: str
    data: str
    snapshot: str
    folder: Path

    @property
    def beats(self) -> bool:
        """Clearly better than the baseline, and nothing it reads gives the answer away."""
        return self.score.beats and not self.leaks

    def pairs(self) -> pl.DataFrame:
        """The questions with truth and answer."""
        return pl.read_parquet(self.folder / "pairs.parquet")

    def plain(self) -> dict[str, Any]:
        """As `judge --json` shows it."""
        s = self.score
        return {
            "usecase": self.usecase,
            "metric": s.metric,
            "higher_is_better": s.higher_is_better,
            "ours": s.ours,
            "low": s.low,
            "high": s.high,
            "baseline": s.baseline,
            "baseline_name": s.baseline_name,
            "chance": s.chance,
            "beats": self.beats,
            "units": s.units,
            "rows": s.rows,
            "split": self.split,
            "data": self.data,
            "gain": s.gain,
            "gain_low": s.gain_low,
            "gain_high": s.gain_high,
            "extra": dict(s.extra),
            "leaks": list(self.leaks),
        }


def snapshot(lake: Lake, case: UseCase, module: ModuleType) -> str:
    """What a judgement or model rests on: data versions, the use case, the code; equal text, equal result."""
    tables = sorted({*(t for t in module.READS), Outcome}, key=lambda t: t.title())
    data = [f"{t.title()}@{lake.version(t)}" for t in tables]
    stated = {
        k: v
        for k, v in asdict(case).items()
        if k not in ("path", "owner", "question", "when", "notify", "tags")
    }
    body = json.dumps([data, stated, code_version(module)], default=str, sort_keys=True)
    return sha256(body.encode()).hexdigest()[:16]


def code_version(module: ModuleType) -> str:
    """Our version and the hash of the solution's own files."""
    source = Path(module.__file__ or "")
    files = sorted(source.parent.glob("*.py")) if source.name == "__init__.py" else [source]
    return f"{__version__}+{sha256(b''.join(f.read_bytes() for f in files)).hexdigest()[:8]}"


def judge(
    case: UseCase,
    module: ModuleType,
    lake: Lake,
    ledger: Ledger,
    home: Path,
    limit: int,
    progress: Progress | None = None,
) -> Judgement:
    """Judge a use case on what the lake holds now.

    Raises SetupError where there is no truth, too little of it, or the solution's answers are not of the contract.
    """
    key = snapshot(lake, case, module)
    folder = home / "judged" / case.name / key
    done = folder / "judgement.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        pairs, past, leaks = _folds(case, module, lake, ledger, folder, limit, progress)
        score = scores.score(case.kind, pairs, past, cap=case.cap)
        pairs.write_parquet(folder / "pairs.parquet")
        _write(done, {"score": asdict(score), "leaks": leaks})
    body = json.loads(done.read_text())
    return Judgement(
        case.name,
        str(case.kind),
        scores.Score(**body["score"]),
        tuple(body["leaks"]),
        str(case.split),
        case.data,
        key,
        folder,
    )


def judged(case: UseCase, home: Path) -> Judgement | None:
    """The last judgement of a use case, if it was ever judged: for pages, which never compute."""
    found = sorted((home / "judged" / case.name).glob("*/judgement.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        return None
    body = json.loads(found[-1].read_text())
    folder = found[-1].parent
    return Judgement(
        case.name,
        str(case.kind),
        scores.Score(**body["score"]),
        tuple(body["leaks"]),
        str(case.split),
        case.data,
        folder.name,
        folder,
    )


def _folds(
    case: UseCase,
    module: ModuleType,
    lake: Lake,
    ledger: Ledger,
    folder: Path,
    limit: int,
    progress: Progress | None,
) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    pairs, pasts = [], []
    all_folds = list(folds(lake, case, module))
    for i, fold in enumerate(all_folds):
        kept = folder / f"fold_{i}.parquet"
        if not kept.is_file():
            if progress:
                progress(f"{case.name}: {fold.name}", i, len(all_folds))
            answers = _fold(case, module, lake, ledger, fold, limit)
            answers.write_parquet(kept.with_suffix(".part"))
            kept.with_suffix(".part").rename(kept)
        pairs.append(pl.read_parquet(kept))
        pasts.append(fold.past)
    leaks = _leaks(case, module, lake, ledger, all_folds, limit)
    return pl.concat(pairs), pl.concat(pasts).unique(maintain_order=True), leaks


def _fold(
    case: UseCase, module: ModuleType, lake: Lake, ledger: Ledger, fold: Fold, limit: int
) -> pl.DataFrame:
    learning = opened(lake, ledger, case, module.READS, "learn", cut=fold.learn, limit=limit)
    model = learned(module, learning, case)
    blind = without_truth(case)
    parts = []
    for step in fold.passes:
        tables = opened(lake, ledger, blind, module.READS, "decide", cut=step.cut, limit=limit)
        parts.append(_paired(step, checked(decided(module, model, tables, blind), case)))
    if not parts:
        raise SetupError(f"use case {case.name}, {fold.name}: there is nothing to ask; is the split right?")
    return pl.concat(parts)


def _paired(step: Pass, answers: pl.DataFrame) -> pl.DataFrame:
    """Each question with its answer, null where none came; an answer nobody asked for does not count."""
    asked = step.questions.select(QUESTION)
    given = answers.select("subject", "decided_at", *ANSWERED)
    if step.by_instant:
        given = given.unique(["subject", "decided_at"], keep="last", maintain_order=True)
        return asked.join(
            given,
            left_on=["subject", "at"],
            right_on=["subject", "decided_at"],
            how="left",
            maintain_order="left",
        )
    given = given.sort("decided_at").unique("subject", keep="last", maintain_order=True).drop("decided_at")
    return asked.join(given, on="subject", how="left", maintain_order="left")


def checked(answers: pl.DataFrame, case: UseCase) -> pl.DataFrame:
    """A solution's answers in the types of the decision table; SetupError where they break the contract."""
    where = f"use case {case.name}: solution {case.solution}: decide"
    if not isinstance(answers, pl.DataFrame):
        raise SetupError(f"{where} gave {type(answers).__name__}, should be a polars DataFrame")
    missing = [c for c in ANSWER_REQUIRED if c not in answers.columns]
    if missing:
        raise SetupError(f"{where} gave no {', '.join(missing)}; it should give {', '.join(ANSWER)}")
    types = Decision.dtypes()
    try:
        full = answers.with_columns(
            pl.lit(None, types[c]).alias(c) for c in ANSWER if c not in answers.columns
        )
        full = full.select(pl.col(c).cast(types[c]) for c in ANSWER)
    except pl.exceptions.PolarsError as e:
        raise SetupError(f"{where} gave a column of a wrong type: {e}") from e
    empty = [c for c in ANSWER_REQUIRED if full[c].null_count()]
    if empty:
        raise SetupError(f"{where} left {', '.join(empty)} empty in some rows")
    return full


def _leaks(
    case: UseCase, module: ModuleType, lake: Lake, ledger: Ledger, all_folds: list[Fold], limit: int
) -> list[str]:
    """Columns that alone foretell the truth too well to be honest, seen on the first questions of every fold."""
    steps: list[Pass] = []
    # the first pass of each fold, then the second of each: all subjects before any of them again
    for step in (s for some in zip_longest(*(f.passes for f in all_folds)) for s in some if s is not None):
        if sum(s.questions.height for s in steps) < LEAK_QUESTIONS:
            steps.append(step)
    found = set[str]()
    for table in module.READS:
        if table is Outcome or case.subject not in table.columns:
            continue
        seen = [_seen(table, step, case, module, lake, ledger, limit) for step in steps]
        joined = pl.concat(seen, how="diagonal_relaxed")
        if joined.is_empty():
            continue
        truth = joined["truth_label"] if joined["truth"].null_count() == joined.height else joined["truth"]
        features = joined.drop(*QUESTION, strict=False)
        for leak in scores.leak_check(features, truth, joined["unit"], case.kind):
            found.add(f"{table.title()}.{leak.column}: {leak.why}")
    return sorted(found)


def _seen(
    table: type[Table], step: Pass, case: UseCase, module: ModuleType, lake: Lake, ledger: Ledger, limit: int
) -> pl.DataFrame:
    """Each question with what one table says of its subject, as `decide` would see it."""
    tables = opened(lake, ledger, without_truth(case), module.READS, "decide", cut=step.cut, limit=limit)
    rows, asked = tables[table], step.questions
    count = int(engine.frame(rows.expr.aggregate(n=rows.expr.count())).item())
    if count > LEAK_ROWS_MAX:  # some subjects tell as much as all of them
        names = asked["subject"].unique().sort()
        names = names.head(len(names) * LEAK_ROWS_MAX // count)
        asked = asked.filter(pl.col("subject").is_in(names.implode()))
        rows = replace(rows, expr=rows.expr.filter(rows.expr[case.subject].isin(names.to_list())))
        if asked.is_empty():
            return asked
    frame = rows.polars().sort(table.at)
    if step.by_instant:
        features = _features(frame, table, [case.subject, table.at])
        return asked.join(features, left_on=["subject", "at"], right_on=[case.subject, table.at], how="inner")
    asked = asked.unique("subject", keep="first", maintain_order=True)
    features = _features(frame, table, [case.subject])
    return asked.join(features, left_on="subject", right_on=case.subject, how="inner", maintain_order="left")


def _features(rows: pl.DataFrame, table: type[Table], by: list[str]) -> pl.DataFrame:
    """One row a subject (or a subject and instant): the last value of each signal, or of each column."""
    if not table.packs:
        plain = [c for c in table.columns if c not in (*table.key, table.at, *by)]
        return rows.group_by(by, maintain_order=True).agg(pl.col(c).drop_nulls().last() for c in plain)
    series = table.packs[-1]
    if "integer" in rows.columns:
        rows = rows.with_columns(value=pl.coalesce("value", pl.col("integer").cast(pl.Float64)))
    numbers = rows.drop_nulls("value").pivot(series, index=by, values="value", aggregate_function="last")
    if "text" not in rows.columns or rows["text"].null_count() == rows.height:
        return numbers
    words = rows.drop_nulls("text").pivot(series, index=by, values="text", aggregate_function="last")
    return numbers.join(words, on=by, how="full", coalesce=True)


def _write(path: Path, body: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(body, indent=1))
    part.rename(path)
