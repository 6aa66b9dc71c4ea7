"""What people write: words in a hurry, now and then with something hostile in between."""

from __future__ import annotations

import numpy as np


def misspelt(text: str, rate: float, chances: np.random.Generator) -> str:
    """The text with two letters swapped in this share of its words (of four letters or more).

    >>> misspelt("replaced the pump", 0.0, np.random.default_rng(1))
    'replaced the pump'
    """
    words = text.split(" ")
    for place, word in enumerate(words):
        if len(word) > 3 and chances.random() < rate:
            at = int(chances.integers(1, len(word) - 2))
            words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)
