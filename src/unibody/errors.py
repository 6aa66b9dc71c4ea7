"""What can go wrong, split by whose fault it is.

    UnibodyError
    ├── FormatError    the data's: a raw file or record is not what its dialect says
    ├── SetupError     the author's: a setting, dialect, use case or solution is wrong
    ├── StoreError     the machine's: lake or ledger cannot be read or written
    └── RefusedError   nobody's: the gate, or a rule of approval, says no

Each message says where, what, and what would have been right.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UnibodyError(Exception):
    """Any error that Unibody raises on purpose."""


class FormatError(UnibodyError):
    """A raw file or record is not what its dialect says."""


class SetupError(UnibodyError):
    """A setting, dialect, use case or solution is wrong, and its author can mend it."""


class StoreError(UnibodyError):
    """Lake or ledger cannot be read or written: full disk, locked, broken."""


class RefusedError(UnibodyError):
    """The gate, or a rule of approval, refuses."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Say what would have been right: the closest known word, else all of them.

    >>> nearest("torqe_nm", ["torque_nm", "vin"])
    'did you mean torque_nm?'
    >>> nearest("x", ["torque_nm", "vin"])
    'there are torque_nm, vin'
    """
    names = sorted(known)
    close = get_close_matches(word, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names) or 'none'}"
