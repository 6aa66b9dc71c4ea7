"""What really happened: the truth that use cases learn from and are judged by."""

from __future__ import annotations

from datetime import datetime

from unibody.tables.table import Table, column


class Outcome(Table):
    """One true answer about one subject: a failure, a label, a class, a demand.

    The gate opens it for purpose `judge`, and for `learn` the rows of the training part only.
    """

    key, at, usage_in = ("truth", "subject", "happened_at"), "happened_at", "usage"
    truth: str = column("which question it answers, e.g. turbine_failed", required=True)
    subject: str = column("about what: machine, VIN, part, image", sensitivity="personal", required=True)
    happened_at: datetime = column("when it happened, or when the label holds", required=True)
    ended_at: datetime = column("until when, where it is a window")
    usage: float = column("the subject's usage when it happened", low=0)
    remaining: float = column("usage that was left after the subject's last reading", low=0)
    value: float = column("how much, or 1 for yes and 0 for no")
    label: str = column("which, where it is a word")
    part: str = column("the part of the set it was published in, e.g. train or test")
