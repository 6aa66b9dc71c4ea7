"""Commands about decisions: list, show, approve, dismiss, revert, act on them; what became of the messages."""

from __future__ import annotations

from typing import Annotated

import typer

from unibody.cli.terminal import Json, backbone_of_home, print_json, print_table, refuse

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


Note = Annotated[str, typer.Option("--note", help="Why; kept with the decision.")]
One = Annotated[str | None, typer.Argument(help="The decision; or --bundle.")]
Bundle = Annotated[str | None, typer.Option(help="All decisions of this bundle, together or not at all.")]


def _move(decision_id: str | None, bundle: str | None, state: str, note: str, as_json: bool) -> None:
    import getpass

    if (decision_id is None) == (bundle is None):
        refuse("say either one decision's id or --bundle NAME")
    backbone, by = backbone_of_home(), getpass.getuser()
    if decision_id is not None:
        moved = [backbone.move(decision_id, state, by=by, note=note)]
    else:
        moved = backbone.move_bundle(str(bundle), state, by=by, note=note)
    if as_json:
        print_json(vars(moved[0]) if bundle is None else [vars(m) for m in moved])
        return
    told = backbone.settings.act or any(c.notify for c in backbone.usecases.values())
    after = "; `unibody act` sends it" if told else ", not sent: no writer is configured"
    for each in moved:
        typer.echo(f"{each.decision_id}: {each.state}{after if state == 'approved' else ''}")


@decisions.command("approve")
def decisions_approve(
    note: Note, decision_id: One = None, bundle: Bundle = None, as_json: Json = False
) -> None:
    """Approve a decision, or all of a bundle together."""
    _move(decision_id, bundle, "approved", note, as_json)


@decisions.command("dismiss")
def decisions_dismiss(
    note: Note, decision_id: One = None, bundle: Bundle = None, as_json: Json = False
) -> None:
    """Dismiss a decision, or all of a bundle together."""
    _move(decision_id, bundle, "dismissed", note, as_json)


@decisions.command("revert")
def decisions_revert(
    note: Note, decision_id: One = None, bundle: Bundle = None, as_json: Json = False
) -> None:
    """Take an approved decision back, or all of a bundle; whoever was told is told that too, at the next `act`."""
    _move(decision_id, bundle, "reverted", note, as_json)


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
    for m in reversed(found["messages"]):
        what = "takes it back: " if m["counter"] else ""
        typer.echo(
            f"  {m['queued_at'][:16]}  {m['state']:10} {what}{m['writer']} to {m['to']}  {m['error'] or ''}"
        )


def act(as_json: Json = False) -> None:
    """Send what was approved, by the writers that the settings name, and deliver what waits."""
    done = backbone_of_home().act()
    if as_json:
        print_json(done.plain())
        return
    typer.echo(
        f"{done.queued} decisions sent; messages: {done.confirmed} confirmed, {done.sent} handed over, "
        f"{done.again} to be tried again, {done.dead} given up"
    )
    if done.not_sent:
        typer.echo(f"{done.not_sent} approved, not sent: no writer is configured for them")
    for decision_id, why in (done.refused or {}).items():
        typer.secho(f"{decision_id}: approved, not sent: {why}", fg="yellow", err=True)


outbox = typer.Typer(help="Messages of approved decisions: on their way, arrived, given up.")
MessageState = Annotated[str | None, typer.Option(help="Only waiting, sent, confirmed or dead.")]


@outbox.callback(invoke_without_command=True)
def outbox_listed(
    context: typer.Context,
    state: MessageState = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: Json = False,
) -> None:
    """List messages, newest first; the dead ones with what was wrong."""
    if context.invoked_subcommand is not None:
        return
    ledger = backbone_of_home().ledger
    if state not in (None, "waiting", "sent", "confirmed", "dead"):
        refuse(f"--state {state}: should be waiting, sent, confirmed or dead")
    found, counts = ledger.outbox(state, limit=limit), ledger.outbox_counts()
    if as_json:
        print_json({"counts": counts, "messages": found})
        return
    print_table(["id", "decision", "writer", "to", "state", "tries", "next try", "error"], [
        [m["id"], m["decision_id"] + (" (taken back)" if m["counter"] else ""), m["writer"], m["to"], m["state"], m["attempts"],
         (m["next_try_at"] or "")[:19], m["error"] or ""] for m in found
    ])  # fmt: skip
    typer.echo(", ".join(f"{n} {s}" for s, n in sorted(counts.items())) or "nothing was sent yet")


@outbox.command("retry")
def outbox_retry(
    message: int,
    to: Annotated[str | None, typer.Option(help="Where its address was wrong: the right one.")] = None,
    as_json: Json = False,
) -> None:
    """Bring a dead message back; the next `act` tries it, with the same key."""
    backbone_of_home().ledger.retry(message, to)
    print_json({"id": message, "state": "waiting"}) if as_json else typer.echo(f"{message}: waiting")


@outbox.command("confirm")
def outbox_confirm(message: int, note: Note, as_json: Json = False) -> None:
    """Say that the recipient has taken it: a mail was answered, a file was read in."""
    import getpass

    backbone_of_home().ledger.confirm(message, getpass.getuser(), note)
    print_json({"id": message, "state": "confirmed"}) if as_json else typer.echo(f"{message}: confirmed")
