"""Sort what customers and dealers write, in any language and badly spelt, by learning from the texts already sorted.

Naive Bayes on words and their first letters (McCallum & Nigam 1998, multinomial), with the named component as one
word more. It learns from the brand's own texts, so it needs no dictionary and no list of languages; a text of which
it knows no word, or is not sure, stays unsorted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

#: A text with no fault in it: an inspection, a question.
NOTHING = ""

LETTERS_MAX, WORDS_MAX, TEXTS_MAX, VOCABULARY_MAX = 2_000, 200, 200_000, 20_000
STEM = 5  # letters: frein and freins, Bremse and Bremsen, and most slips of the pen share them
SMOOTHING = 0.5


@dataclass(frozen=True)
class Words:
    """What was learned: how much each word speaks for each label (log ratio against all texts together)."""

    vocabulary: pl.DataFrame  # word, place
    weights: np.ndarray  # words x labels
    prior: np.ndarray  # labels
    labels: tuple[str, ...]
    texts: int  # distinct texts it learned from

    def sort(self, texts: pl.DataFrame) -> pl.DataFrame:
        """Label texts (columns text, component): adds `label` (null: no word known), `sure` 0..1."""
        from scipy.sparse import csr_matrix

        distinct = texts.select("text", "component").unique(maintain_order=True).with_row_index("row")
        seen = _words(distinct).join(self.vocabulary, on="word")
        known = np.zeros(distinct.height, dtype=bool)
        known[seen["row"].to_numpy()] = True
        matrix = csr_matrix(
            (np.ones(seen.height), (seen["row"].to_numpy(), seen["place"].to_numpy())),
            shape=(distinct.height, self.vocabulary.height),
        )
        # word and stem say the same thing twice: half the weight keeps `sure` honest
        score = self.prior + 0.5 * (matrix @ self.weights)
        best = score.argmax(axis=1)
        sure = 1 / np.exp(score - score.max(axis=1, keepdims=True)).sum(axis=1)
        labelled = distinct.with_columns(
            label=pl.when(pl.lit(pl.Series(known))).then(
                pl.lit(pl.Series(np.array(self.labels, dtype=object)[best], dtype=pl.String))
            ),
            sure=pl.lit(pl.Series(sure)),
        ).drop("row")
        return texts.join(
            labelled, on=["text", "component"], how="left", nulls_equal=True, maintain_order="left"
        )


def learn(texts: pl.DataFrame) -> Words | None:
    """Learn from sorted texts (columns text, component, label); None where fewer than two labels are there.

    >>> said = ["brake soft", "pedal soft brake", "does not start", "no start, battery flat"]
    >>> seen = pl.DataFrame({"text": said, "component": None, "label": ["brakes", "brakes", "battery", "battery"]})
    >>> words = learn(seen.cast({"component": pl.String}))
    >>> words.sort(pl.DataFrame({"text": ["soft brakes"], "component": [None]}, schema=dict.fromkeys(["text", "component"], pl.String)))["label"].item()
    'brakes'
    """
    counted = (
        texts.group_by("text", "component", "label").len("times").sort("times", "text", "component", "label")
    )
    counted = counted.tail(TEXTS_MAX).with_row_index("row")
    labels = tuple(counted["label"].unique().sort())
    if len(labels) < 2:
        return None
    words = _words(counted).join(counted.select("row", "label", "times"), on="row")
    frequent = words.group_by("word").agg(pl.col("times").sum()).filter(pl.col("times") >= 2)
    frequent = frequent.sort("times", "word", descending=[True, False]).head(VOCABULARY_MAX)
    vocabulary = frequent.select("word").with_row_index("place")
    if not vocabulary.height:
        return None
    place = {label: i for i, label in enumerate(labels)}
    cells = words.join(vocabulary, on="word").group_by("place", "label").agg(pl.col("times").sum())
    counts = np.full((vocabulary.height, len(labels)), SMOOTHING)
    counts[
        cells["place"].to_numpy(), cells["label"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
    ] += cells["times"].to_numpy()
    whole = counts.sum(axis=1, keepdims=True)
    weights = np.log(counts / counts.sum(axis=0)) - np.log(whole / whole.sum())
    shares = counted.group_by("label").agg(pl.col("times").sum()).sort("label")["times"].to_numpy()
    return Words(vocabulary, weights, np.log(shares / shares.sum()), labels, counted.height)


def _words(texts: pl.DataFrame) -> pl.DataFrame:
    """One row a text (`row`) and distinct word; accents, case and punctuation do not count."""
    plain = (
        pl.col("text").fill_null("").str.slice(0, LETTERS_MAX).str.to_lowercase().str.normalize("NFKD")
    ).str.replace_all(r"\p{M}", "")
    # writing without blanks is taken letter by letter
    split = plain.str.extract_all(
        r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}]|[\p{L}\p{N}]{2,}"
    )
    words = texts.select("row", word=split.list.head(WORDS_MAX)).explode("word").drop_nulls()
    stems = words.filter(pl.col("word").str.len_chars() >= STEM).with_columns(
        word=pl.col("word").str.slice(0, STEM) + "-"
    )
    named = texts.select("row", word="component: " + pl.col("component")).drop_nulls()
    return pl.concat([words, stems, named]).unique(maintain_order=True)
