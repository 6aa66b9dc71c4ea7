"""Models kept, compared, made live: MLflow's registry over SQLite, with data snapshot, settings, scores, code version.

A model is a frozen dataclass of scalars, text, numpy arrays, Arrow tables or bytes. It is saved by one function, into
open formats, and never by pickle.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from unibody.errors import SetupError, StoreError

if TYPE_CHECKING:
    import polars as pl

LIVE = "live"
_PLAIN = (str, int, float, bool, type(None))


def save(model: Any, folder: Path) -> None:
    """Write a model into an empty folder: model.json, arrays as .npy, tables as .arrow, bytes as .bin.

    Raises SetupError where a field is of another type: then it could not be read back by anybody else.
    """
    if not is_dataclass(model) or isinstance(model, type):
        raise SetupError(f"model {type(model).__name__}: should be a frozen dataclass")
    folder.mkdir(parents=True, exist_ok=True)
    body = {f.name: _out(getattr(model, f.name), f.name, folder) for f in fields(model)}
    (folder / "model.json").write_text(
        json.dumps(
            {"class": type(model).__name__, "module": type(model).__module__, "fields": body}, indent=1
        )
    )


def _out(value: Any, name: str, folder: Path) -> Any:
    import pyarrow as pa

    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        np.save(folder / f"{name}.npy", value, allow_pickle=False)
        return {"npy": f"{name}.npy"}
    if isinstance(value, bytes):
        (folder / f"{name}.bin").write_bytes(value)
        return {"bin": f"{name}.bin"}
    if isinstance(value, pa.Table):
        with (
            pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, value.schema) as writer,
        ):
            writer.write_table(value)
        return {"arrow": f"{name}.arrow"}
    if isinstance(value, tuple):
        return {"tuple": [_out(v, f"{name}.{i}", folder) for i, v in enumerate(value)]}
    if isinstance(value, Mapping):
        return {"map": {str(k): _out(v, f"{name}.{i}", folder) for i, (k, v) in enumerate(value.items())}}
    raise SetupError(
        f"model field {name}: {type(value).__name__} cannot be kept; use scalars, numpy, Arrow or bytes"
    )


def load(folder: Path, module: ModuleType) -> Any:
    """Read a model back; its class is looked up in the solution's module, or in a file of its folder."""
    try:
        body = json.loads((folder / "model.json").read_text())
        home = str(body["module"])
        # only code of the solution itself is ever looked at, whatever a model file says
        owner = import_module(home) if home.startswith(module.__name__ + ".") else module
        cls = getattr(owner, body["class"], None)
        if not is_dataclass(cls) or not isinstance(cls, type):
            raise SetupError(f"{folder}: {module.__name__} has no model class {body['class']!r}")
        return cls(**{k: _in(v, folder) for k, v in body["fields"].items()})
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise StoreError(f"{folder}: is no model of {module.__name__}: {e}") from e


def _in(value: Any, folder: Path) -> Any:
    import pyarrow as pa

    if not isinstance(value, dict):
        return value
    ((kind, stored),) = value.items()
    if kind == "tuple":
        return tuple(_in(v, folder) for v in stored)
    if kind == "map":
        return {k: _in(v, folder) for k, v in stored.items()}
    path = folder / Path(stored).name  # never outside the model's own folder
    if kind == "npy":
        return np.load(path, allow_pickle=False)
    if kind == "bin":
        return path.read_bytes()
    with pa.OSFile(str(path), "rb") as source:
        return pa.ipc.open_file(source).read_all()


@dataclass(frozen=True)
class Kept:
    """One kept version of a use case's model."""

    usecase: str
    version: int
    folder: Path
    tags: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def name(self) -> str:
        """How decisions cite it: `paint_pumps v3`."""
        return f"{self.usecase} v{self.version}"

    def answers(self) -> pl.DataFrame:
        """The questions it was judged by, with its answers: what a challenger is compared on."""
        import polars as pl

        path = self.folder.parent / "answers.parquet"
        return pl.read_parquet(path) if path.is_file() else pl.DataFrame()


class Models:
    """The registry of one home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def _client(self) -> Any:
        return _client(str(self.folder.absolute()))

    def keep(
        self,
        usecase: str,
        model: Any,
        answers: pl.DataFrame | None,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        live: bool,
    ) -> Kept:
        """Keep a version with what it learned from and how it scored; make it live if so decided."""
        client = self._client
        experiment = client.get_experiment_by_name(usecase)
        root = (self.folder / "artifacts" / usecase).absolute()
        number = experiment.experiment_id if experiment else client.create_experiment(usecase, root.as_uri())
        run = client.create_run(number, tags=dict(tags))
        for name, value in metrics.items():
            client.log_metric(run.info.run_id, name, float(value))
        with tempfile.TemporaryDirectory() as scratch:
            save(model, Path(scratch) / "model")
            if answers is not None and answers.height:
                answers.write_parquet(Path(scratch) / "answers.parquet")
            client.log_artifacts(run.info.run_id, scratch)
        client.set_terminated(run.info.run_id)
        if not any(m.name == usecase for m in client.search_registered_models(f"name = '{usecase}'")):
            client.create_registered_model(usecase)
        version = client.create_model_version(usecase, f"{run.info.artifact_uri}/model", run.info.run_id)
        if live:
            client.set_registered_model_alias(usecase, LIVE, version.version)
        return self._kept(usecase, version)

    def live(self, usecase: str) -> Kept | None:
        """The live version of a use case's model, if any."""
        from mlflow.exceptions import MlflowException

        try:
            return self._kept(usecase, self._client.get_model_version_by_alias(usecase, LIVE))
        except MlflowException:
            return None

    def make_live(self, kept: Kept) -> None:
        """Let this version decide from now on."""
        self._client.set_registered_model_alias(kept.usecase, LIVE, str(kept.version))

    def versions(self, usecase: str) -> list[Kept]:
        """All kept versions, newest first."""
        found = self._client.search_model_versions(f"name = '{usecase}'")
        return sorted((self._kept(usecase, v) for v in found), key=lambda k: -k.version)

    def _kept(self, usecase: str, version: Any) -> Kept:
        run = self._client.get_run(version.run_id)
        folder = Path(url2pathname(urlsplit(version.source).path))  # a blank in it is %20 there
        return Kept(usecase, int(version.version), folder, dict(run.data.tags), dict(run.data.metrics))


@cache
def _client(folder: str) -> Any:
    """MLflow's client on this folder's SQLite; heavy to import, so only here."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    import logging

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    Path(folder).mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder}/registry.sqlite"
    return MlflowClient(tracking_uri=url, registry_uri=url)
