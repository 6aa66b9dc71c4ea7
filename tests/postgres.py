"""A PostgreSQL of the tests' own: Debian's server in a temporary folder, on loopback, gone when the tests end."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

PASSWORD = "of-the-tests"
INSTALL = "apt-get install postgresql"


def programs() -> Path | None:
    """Folder of initdb and postgres, wherever Debian put them."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@dataclass
class Postgres:
    """A server that can be stopped hard and started again."""

    folder: Path
    port: int
    user: str
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, schema: str = "public") -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{schema}"

    def database(self) -> str:
        """URL that opens on an empty schema of its own: a hundredth of the files of a database."""
        import psycopg

        name = f"t{os.getpid()}_{next(self.numbers)}"
        with psycopg.connect(self.url(), password=PASSWORD, autocommit=True) as con:
            con.execute(f"create schema {name}".encode())
        return self.url(name)

    def start(self) -> None:
        binaries = programs()
        assert binaries is not None
        line = [
            str(binaries / "postgres"),
            "-D",
            str(self.folder / "data"),
            "-p",
            str(self.port),
            "-k",
            str(self.folder),
        ]
        line += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=60"]
        self.process = subprocess.Popen(line, stderr=subprocess.DEVNULL, **_as_somebody(self.user))
        for _ in range(600):
            with socket.socket() as door:
                if door.connect_ex(("127.0.0.1", self.port)) == 0 and self._answers():
                    return
            time.sleep(0.05)
        raise AssertionError("PostgreSQL did not start")

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), password=PASSWORD).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """As `pg_ctl stop -m immediate`: no session is asked."""
        if self.process is not None:
            self.process.send_signal(3)
            self.process.wait(20)
            self.process = None


def _as_somebody(user: str) -> dict[str, str]:
    return {} if user == getpass.getuser() else {"user": user, "group": user}


@contextmanager
def server() -> Iterator[Postgres]:
    """A server; the test is skipped, by name, where PostgreSQL or its driver is not installed."""
    import pytest

    pytest.importorskip("psycopg", reason="no driver: pip install 'psycopg[binary]'")
    binaries = programs()
    if binaries is None:
        pytest.skip(f"no PostgreSQL: {INSTALL}")
    user = getpass.getuser()
    if os.geteuid() == 0:  # the server refuses root; Debian's package brings a user for it
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip(f"no user postgres: {INSTALL}")
    folder = Path(tempfile.mkdtemp(prefix="unibody-pg-"))  # short, for its socket, and where that user may go
    try:
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, user, user)
        line = [
            str(binaries / "initdb"),
            "-D",
            str(folder / "data"),
            "-U",
            user,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        subprocess.run(
            [*line, f"--pwfile={folder / 'password'}"], check=True, capture_output=True, **_as_somebody(user)
        )  # type: ignore[call-overload]
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            port = door.getsockname()[1]
        found = Postgres(folder, port, user)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
