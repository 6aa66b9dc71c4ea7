"""Commands about decisions: list, show, approve, dismiss, revert."""

from __future__ import annotations

from typing import Annotated

import typer

from unibody.cli.terminal import Json, backbone_of_home, print_json, print_table

decisions = typer.Typer(help="What the use cases propose, and what people said.")


@decisions.callback(invoke_without_command=True)
def listed(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1)] = 50, as_json: Json = False
) -> None:
    """List what needs a decision."""
    if context.invoked_subcommand is not None:
        return
    found = backbone_of_home().decisions()
    if as_json:
        print_json(found)
        return
    print_table(["id", "about", "do what", "why", "worth EUR", "sure", "state"], [
        [d["decision_id"], d["subject"], d["action"], d["reason"], "" if d["worth_eur"] is None else f"{d['worth_eur']:,.0f}",
         "" if d["sure"] is None else f"{d['sure']:.2f}", d["sent"]] for d in found[:limit]
    ])  # fmt: skip
    typer.echo(f"{len(found)} decisions")


def _move(decision_id: str, state: str, note: str, as_json: bool) -> None:
    import getpass

    moved = backbone_of_home().move(decision_id, state, by=getpass.getuser(), note=note)
    if as_json:
        print_json(vars(moved))
    else:
        typer.echo(
            f"{decision_id}: {moved.state}{', not sent: no writer is configured' if state == 'approved' else ''}"
        )


Note = Annotated[str, typer.Option("--note", help="Why; kept with the decision.")]


@decisions.command("approve")
def decisions_approve(decision_id: str, note: Note, as_json: Json = False) -> None:
    """Approve a decision."""
    _move(decision_id, "approved", note, as_json)


@decisions.command("dismiss")
def decisions_dismiss(decision_id: str, note: Note, as_json: Json = False) -> None:
    """Dismiss a decision."""
    _move(decision_id, "dismissed", note, as_json)


@decisions.command("revert")
def decisions_revert(decision_id: str, note: Note, as_json: Json = False) -> None:
    """Take an approved decision back."""
    _move(decision_id, "reverted", note, as_json)


@decisions.command("show")
def decisions_show(decision_id: str, as_json: Json = False) -> None:
    """One decision with its revisions and its history."""
    found = backbone_of_home().decision(decision_id)
    if as_json:
        print_json(found)
        return
    for key in (
        "subject",
        "action",
        "reason",
        "value",
        "low",
        "high",
        "worth_eur",
        "sure",
        "model",
        "risk",
        "sent",
    ):
        typer.echo(f"{key:10} {found[key]}")
    for step in found["history"]:
        typer.echo(f"  {step['at'][:16]}  {step['state']:10} {step['by']}  {step['note']}")
