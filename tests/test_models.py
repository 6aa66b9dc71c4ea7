"""Models come back as they were kept, from open formats only, and the one that is live is the one that was made so."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from unibody import models
from unibody.errors import SetupError, StoreError


@dataclass(frozen=True)
class Kept:
    """A model with a field of every kind."""

    number: float
    words: str
    none: str | None
    yes: bool
    count: int
    array: Any
    table: Any
    blob: bytes
    several: tuple[Any, ...]
    named: Any


@dataclass(frozen=True)
class One:
    """A model of one field."""

    field: Any


HERE = ModuleType("tests_models")
HERE.Kept, HERE.One = Kept, One  # type: ignore[attr-defined]


def test_a_model_comes_back_as_it_was_kept(tmp_path):
    made = Kept(
        1.5, "ü/..", None, True, np.int64(7), np.arange(6.0).reshape(2, 3), pa.table({"a": [1, None]}), b"\x00\xff",
        (np.array([1, 2]), "x", (b"inner",)), {"a/b": np.array([True]), "../up": 2.0, "": ("z",)},
    )  # fmt: skip
    models.save(made, tmp_path / "m")
    back = models.load(tmp_path / "m", HERE)
    assert (back.number, back.words, back.none, back.yes, back.count, back.blob) == (
        1.5,
        "ü/..",
        None,
        True,
        7,
        b"\x00\xff",
    )
    np.testing.assert_array_equal(back.array, made.array)
    assert back.table.equals(made.table)
    np.testing.assert_array_equal(back.several[0], [1, 2])
    assert back.several[1:] == ("x", (b"inner",))
    assert (
        list(back.named) == ["a/b", "../up", ""]
        and back.named["../up"] == 2.0
        and back.named["a/b"].tolist() == [True]
    )
    assert {p.suffix for p in (tmp_path / "m").iterdir()} <= {".json", ".npy", ".arrow", ".bin"}
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        [1, 2],
        {1, 2},
        np.array([object()]),
        np.array([(1, "x")], dtype=[("a", int), ("b", object)]),
        len,
        pl.DataFrame({"a": [1]}),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_only_pickle_could_keep_is_refused(tmp_path, value):
    with pytest.raises(SetupError, match="field"):
        models.save(One(value), tmp_path / "m")


def test_what_is_no_dataclass_is_refused(tmp_path):
    for thing in ({"a": 1}, One, "x"):
        with pytest.raises(SetupError, match="dataclass"):
            models.save(thing, tmp_path / "m")


def test_a_model_file_that_names_other_code_or_a_pickle_is_refused(tmp_path):
    models.save(One(np.arange(3)), tmp_path / "m")
    path = tmp_path / "m/model.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "class": "Popen", "module": "subprocess"}))
    with pytest.raises(SetupError, match="no model class"):
        models.load(tmp_path / "m", HERE)
    path.write_text(json.dumps(stated))
    np.save(tmp_path / "m/field.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(StoreError, match="no model"):
        models.load(tmp_path / "m", HERE)
    (tmp_path / "secret.npy").write_bytes((tmp_path / "m/field.npy").read_bytes())
    path.write_text(json.dumps({**stated, "fields": {"field": {"npy": "../secret.npy"}}}))
    with pytest.raises(StoreError):
        models.load(tmp_path / "m", HERE)
    path.write_text("{")
    with pytest.raises(StoreError):
        models.load(tmp_path / "m", HERE)


def test_versions_are_kept_and_one_is_live_in_a_home_with_a_blank_in_its_name(tmp_path, template_home):
    home = tmp_path / "my plant ü"
    shutil.copytree(template_home, home)
    registry = models.Models(home / "models")
    assert registry.live("wear") is None and registry.versions("wear") == []
    answers = pl.DataFrame({"unit": ["a"], "score": [1.0]})
    first = registry.keep("wear", One(np.arange(3)), answers, {"snapshot": "s1"}, {"rmse": 2.5}, live=True)
    second = registry.keep("wear", One("b"), None, {"snapshot": "s2"}, {}, live=False)
    registry.keep("other", One("c"), None, {}, {}, live=True)
    live = models.Models(home / "models").live("wear")
    assert live is not None and (live.version, live.tags["snapshot"], live.metrics["rmse"], live.name) == (
        1,
        "s1",
        2.5,
        "wear v1",
    )
    assert models.load(live.folder, HERE).field.tolist() == [0, 1, 2]
    assert live.answers().equals(answers) and second.answers().is_empty()
    assert [k.version for k in registry.versions("wear")] == [2, 1]
    registry.make_live(second)
    assert registry.live("wear").version == 2
    assert isinstance(first.folder, Path) and first.folder.is_dir()
