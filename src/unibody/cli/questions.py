"""Commands about questions: run use cases, judge them, list them, keep all of it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unibody.cli.terminal import (
    Json,
    backbone_of_home,
    instant,
    print_json,
    print_table,
    progress_line,
    refuse,
    scoreboard,
)
from unibody.errors import UnibodyError

if TYPE_CHECKING:
    from unibody.backbone import Backbone


def up(
    once: Annotated[bool, typer.Option("--once", help="One pass, the scoreboard, then exit.")] = False,
    as_json: Json = False,
    port: Annotated[int | None, typer.Option(help="Port of the web app on 127.0.0.1.")] = None,
    vehicles: Annotated[
        int, typer.Option(help="Vehicles of the made-up car maker, where the lake is empty.")
    ] = 1000,
) -> None:
    """Everything on one machine: an empty lake gets a small made-up car maker; then use cases, schedule, web app."""
    from unibody.backbone.up import first_pass

    backbone = backbone_of_home()
    with progress_line(as_json) as progress:
        board = first_pass(backbone, vehicles=vehicles, progress=progress)
    if as_json:
        print_json(board)
    else:
        scoreboard(board["judged"])
        typer.echo(f"{board['decisions']} decisions wait; {board['seconds']} s")
        for name, why in board["failed"].items():
            typer.secho(f"{name}: {why}", fg="yellow", err=True)
    if not once:
        from unibody.web import serve

        serve(backbone, port or backbone.settings.port)


def usecases(as_json: Json = False) -> None:
    """The questions there are, and how well each is answered."""
    backbone = backbone_of_home()
    runs = backbone.ledger.last_runs()
    rows: list[dict[str, Any]] = []
    for case in backbone.usecases.values():
        judgement, last = backbone.judged(case.name), runs.get(case.name)
        rows.append({
            "usecase": case.name, "room": case.room, "question": case.question, "solution": case.solution, "kind": str(case.kind),
            "owner": case.owner, "when": case.when, "tags": list(case.tags), "data": case.data, "path": case.path,
            "truth": case.truth, "split": str(case.split) if case.split else None,
            "score": judgement.plain() if judgement else None, "last_run": last["began_at"] if last else None,
        })  # fmt: skip
    if as_json:
        print_json(rows)
        return
    print_table(
        ["use case", "question", "score"],
        [[r["usecase"], r["question"], _score_text(r["score"])] for r in rows],
    )


def _score_text(s: dict[str, Any] | None) -> str:
    if s is None:
        return "not judged yet"
    return f"{s['metric']} {s['ours']:.3g} ({s['baseline_name']} {s['baseline']:.3g}){' beats' if s['beats'] else ''}"


def run(
    name: Annotated[str | None, typer.Argument()] = None,
    everything: Annotated[bool, typer.Option("--all", help="All use cases that have data.")] = False,
    tag: Annotated[str | None, typer.Option(help="All use cases of this tag.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Decide as one would have then.")] = None,
    as_json: Json = False,
) -> None:
    """Judge, learn, decide and propose: one use case, all, or those of a tag."""
    backbone = backbone_of_home()
    done, failed = [], {}
    names = _chosen(backbone, name, everything, tag)
    with progress_line(as_json) as progress:
        for each in names:
            try:
                done.append(backbone.run(each, instant(as_of), progress).plain())
            except UnibodyError as e:  # a solution's own faults come as SetupError
                if name is not None:
                    raise
                failed[each] = str(e)
    if as_json:
        print_json(done[0] if name else {"ran": done, "failed": failed})
        return
    print_table(
        ["use case", "model", "decisions", "new or changed"],
        [[d["usecase"], d["model"], d["decisions"], d["new"]] for d in done],
    )
    scoreboard([d["score"] for d in done if d["score"]])
    for each, why in failed.items():
        typer.secho(f"{each}: {why}", fg="yellow", err=True)


def _chosen(backbone: Backbone, name: str | None, everything: bool, tag: str | None) -> list[str]:
    if name is not None:
        return [backbone.usecase(name).name]
    if not everything and tag is None:
        refuse("name a use case, or say --all or --tag TAG; `unibody usecases` lists them")
    return [
        c.name
        for c in backbone.usecases.values()
        if (everything or tag in c.tags) and (c.truth is None or backbone.has_truth(c))
    ]


def judge(
    name: Annotated[str | None, typer.Argument()] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All use cases that have truth in the lake.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score a use case on what was held back, beside a naive baseline and chance."""
    backbone = backbone_of_home()
    with progress_line(as_json) as progress:
        board = [backbone.judge(n, progress).plain() for n in _chosen(backbone, name, everything, None)]
    if as_json:
        print_json(board)
    else:
        scoreboard(board)
