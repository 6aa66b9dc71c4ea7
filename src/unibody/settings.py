"""What may be set on this machine, and where each value came from.

Order, last wins: default, `unibody.toml` (in the working folder, or the file named by UNIBODY_SETTINGS),
environment (`UNIBODY_HOME`, `UNIBODY_PORT`, ...).
"""

from __future__ import annotations

import os
import tomllib
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from unibody.errors import SetupError, nearest


def settings_file() -> Path:
    """The settings file: UNIBODY_SETTINGS, else unibody.toml in the working folder."""
    return Path(os.environ.get("UNIBODY_SETTINGS", "unibody.toml"))


class Route(BaseModel):
    """One `[[act]]`: which approved decisions go out, by which writer, to whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usecase: str = "*"  # name, or a pattern like machine_*
    action: str = "*"  # what the decision says to do, or a pattern of it
    writer: str
    to: str = Field(max_length=2000)
    # NAMES of secrets, never secrets: UNIBODY_SECRET_NAME holds it, or UNIBODY_SECRET_NAME_FILE names its file
    secret: str = Field("", pattern=r"^([A-Z][A-Z0-9_]*)?$")  # signs a webhook
    bearer: str = Field("", pattern=r"^([A-Z][A-Z0-9_]*)?$")  # sent as bearer token
    stated: dict[str, str | int | float | bool] = Field({}, alias="with")  # words of the writer's own


class Settings(BaseSettings):
    """Every setting of Unibody."""

    model_config = SettingsConfigDict(env_prefix="UNIBODY_", extra="forbid", frozen=True)

    home: Path = Field(Path(".unibody"), description="folder that holds lake, ledger and models")
    data: Path = Field(Path("../shared/data"), description="folder with the public data sets, if there")
    dialects: Path = Field(Path("dialects"), description="folder with dialects of your own")
    usecases: Path = Field(Path("usecases"), description="folder with use cases of your own")
    solutions: Path = Field(Path("solutions"), description="folder with solutions of your own")
    writers: Path = Field(Path("writers"), description="folder with writers of your own")
    ledger: str = Field("", description="URL of the ledger's database; empty: SQLite in the home")
    act: tuple[Route, ...] = Field((), description="what an approved decision does: docs/how-to/act.md")
    smtp: str = Field("", description="mail server, smtps://host:465 or smtp://host:587 (STARTTLS)")
    smtp_user: str = Field("", description="name to sign in with there; its password is the secret SMTP")
    mail_from: str = Field("", description="address that mails come from")
    port: int = Field(8420, ge=0, le=65535, description="port of the web app on 127.0.0.1")
    batch_rows: int = Field(250_000, ge=1, description="records read, checked and committed at once")
    file_bytes_max: int = Field(20_000_000_000, ge=1, description="largest file, unpacked, that ingest reads")
    unpack_ratio_max: int = Field(400, ge=1, description="unpacked bytes that one packed byte may become")
    quiet_seconds: float = Field(
        5.0, ge=0, description="a file changed since then may still be being written"
    )
    collect_rows_max: int = Field(50_000_000, ge=1, description="rows one .polars() may bring into memory")
    processes: int = Field(0, ge=0, description="processes for per-group Python; 0: one a core")

    @property
    def lake(self) -> Path:
        """Folder of the Delta tables."""
        return self.home / "lake"

    @property
    def models(self) -> Path:
        """Folder of the kept models."""
        return self.home / "models"

    @property
    def ledger_url(self) -> str:
        """URL of the ledger's database."""
        return self.ledger or f"sqlite:///{(self.home / 'ledger.sqlite').absolute()}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before file; no .env and no secrets folder."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())


@dataclass(frozen=True)
class Sourced:
    """One setting as in force: its value, where that came from, what it means."""

    name: str
    value: str
    source: str
    meaning: str


def load() -> Settings:
    """Read the settings of this process.

    Raises SetupError where the file is broken, a name is unknown or misspelt, or a value is of the wrong type.
    """
    path = settings_file()
    _misspelt()
    if "UNIBODY_SETTINGS" in os.environ and not path.is_file():
        raise SetupError(f"UNIBODY_SETTINGS={path}: no such file")
    try:
        return Settings()  # type: ignore[call-arg]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise SetupError(f"{path}: not TOML: {e}") from e
    except ValidationError as e:
        fault = e.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            raise SetupError(f"{path}: no setting {name!r}; {nearest(name, Settings.model_fields)}") from e
        where = f"UNIBODY_{name.upper()}" if f"UNIBODY_{name.upper()}" in os.environ else str(path)
        raise SetupError(f"{where}: {name} = {fault['input']!r}: {fault['msg']}") from e


def _misspelt() -> None:
    """Look for variables that were meant for us and that nobody reads."""
    known = {"UNIBODY_SETTINGS", *(f"UNIBODY_{n.upper()}" for n in Settings.model_fields)}
    for name in sorted(os.environ):
        plain = name.upper()  # as settings are read: home, Home and HOME are one
        if not plain.startswith("UNIBODY_") or plain in known or plain.startswith("UNIBODY_SECRET_"):
            continue
        if get_close_matches(
            plain.removeprefix("UNIBODY_"), [k.removeprefix("UNIBODY_") for k in known], 1, 0.7
        ):
            raise SetupError(
                f"{name}: no such setting; {nearest(plain, known)} (`unibody settings` lists them)"
            )
        # another program's, or a container's own: said, not refused
        warnings.warn(f"{name} is set and is no setting of ours; `unibody settings` lists them", stacklevel=3)


@cache
def current() -> Settings:
    """The settings of this process, read once."""
    return load()


def sourced(settings: Settings) -> list[Sourced]:
    """Each setting with its value and the place it came from, for `unibody settings`."""
    stated = TomlConfigSettingsSource(Settings, settings_file())()
    environ = EnvSettingsSource(Settings)()
    return [
        Sourced(
            name,
            str(getattr(settings, name)),
            f"UNIBODY_{name.upper()}"
            if name in environ
            else str(settings_file())
            if name in stated
            else "default",
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]
