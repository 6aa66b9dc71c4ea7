"""`unibody trace`: from failures in the field to causes, cars and proposals."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from unibody.cli.terminal import Json, backbone_of_home, instant, print_json, progress_line


def trace(
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what began to stand out at or after this time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What fails more often than it should, why, which cars, and what is proposed about it."""
    from unibody.backbone.tracing import trace as traced

    backbone = backbone_of_home()
    begin = instant(since) if since else None
    with progress_line(as_json) as progress:
        cases = traced(backbone, begin, progress)
    if as_json:
        print_json(cases)
        return
    for case in cases:
        _case(case)
    if not cases:
        typer.echo("Nothing stands out beyond what chance would give.")


def _case(case: dict[str, Any]) -> None:
    typer.secho(f"{case['brand'] or 'all brands'}, {case['symptom']}, since {case['since'][:10]}", bold=True)
    typer.echo(f"  {case['verdict']}")
    covered = case["covered_probability"]
    if case["cause"]:
        typer.echo(f"  {case['vehicles']:,} cars hold {covered:.0%} of those affected")
    for d in case["decisions"]:
        worth = "" if d["worth_eur"] is None else f", EUR {d['worth_eur']:,.0f}"
        typer.echo(f"  {d['decision_id']}  {d['state']:<9} {d['subject']}: {d['action']}{worth}")


def prove(
    bundle: Annotated[str | None, typer.Argument(help="One case; else all that were acted on.")] = None,
    acted_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When the cars were called, if not when it was approved."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Did the failures fall after the cure, by how much, how sure; the answer becomes truth."""
    from unibody.backbone.proving import prove as proved

    found = proved(backbone_of_home(), bundle, instant(acted_at))
    if as_json:
        print_json(found)
        return
    for case in found:
        typer.echo(f"{case['bundle']}  {case['brand'] or 'all brands'}, {case['symptom']}: {case['verdict']}")
    if not found:
        typer.echo("There is no case yet; `unibody trace` looks for some.")
