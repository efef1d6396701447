"""A scratch PostgreSQL: role bench with md5 password bench, database bench with pgbench's tables."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from .scratch import CannotRun, clean_environment, free_port

USER = PASSWORD = DATABASE = "bench"
HOST = "127.0.0.1"
# Read-only work: durability and vacuuming would only add noise.
SETTINGS = """
listen_addresses = '127.0.0.1'
shared_buffers = '256MB'
fsync = off
synchronous_commit = off
autovacuum = off
jit = off
max_parallel_workers_per_gather = 0
wal_level = minimal
max_wal_senders = 0
"""
# What SETTINGS leave out for speed, behind them.
OF_PRIMARY = """
wal_level = replica
max_wal_senders = 10
"""
# The superuser is reached only by the Unix socket, inside a directory nobody else may enter.
ACCESS = """
local all all trust
local replication all trust
host all bench 127.0.0.1/32 md5
"""


def client_environment():
    """What libpq's programs need to log in as bench, with nothing but the queries on the wire."""
    return clean_environment(PGPASSWORD=PASSWORD, PGSSLMODE="disable", PGGSSENCMODE="disable")


def find_programs():
    """The directory of PostgreSQL's programs: $PGBIN, or the newest of Debian's, or pg_config's."""
    if "PGBIN" in os.environ:
        candidates = [pathlib.Path(os.environ["PGBIN"])]
    else:
        debian = pathlib.Path("/usr/lib/postgresql").glob("*/bin")
        candidates = sorted(debian, key=lambda p: [int(n) for n in re.findall(r"\d+", p.parent.name)], reverse=True)
        if shutil.which("pg_config"):
            asked = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True)
            candidates.append(pathlib.Path(asked.stdout.strip()))
    for directory in candidates:
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            for tool in ("pgbench", "psql"):
                if not (directory / tool).exists():
                    raise CannotRun(f"{directory} has no {tool}: apt-get install postgresql-contrib postgresql-client")
            return directory
    if "PGBIN" in os.environ:
        raise CannotRun(f"PGBIN names {os.environ['PGBIN']}, which has no postgres and initdb")
    raise CannotRun("PostgreSQL is not installed: apt-get install postgresql postgresql-contrib (or set PGBIN to its bin directory)")


class Postgres:
    """A running server on `port`; `programs` is the directory of its tools. It ends with the scratch directory. `settings`
    are more lines of its postgresql.conf."""

    def __init__(self, scratch, programs, max_connections, scale, settings=""):
        self._scratch, self.programs = scratch, programs
        self._home = scratch.directory("postgres")
        data = self._home / "data"
        scratch.run([programs / "initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust", "-U", "postgres", "-D", data], self._home)
        (data / "pg_hba.conf").write_text(ACCESS)
        self._start(f"{SETTINGS}max_connections = {max_connections}\n{settings}")
        self.sql("set password_encryption = 'md5'; create role bench login password 'bench'")
        self.sql("create database bench owner bench")
        self._fill(scale)

    def replica(self):
        """A streaming replica that has all that there is now, with the same settings. This server needs OF_PRIMARY."""
        copy = object.__new__(Postgres)
        copy._scratch, copy.programs, copy._home = self._scratch, self.programs, self._scratch.directory("replica")
        self._scratch.run([self.programs / "pg_basebackup", "-D", copy._home / "data", "-h", self._home, "-p", self.port,
                           "-U", "postgres", "-c", "fast", "-X", "stream", "--no-sync"], copy._home)
        self._scratch.write(copy._home / "data/standby.signal", "")
        copy._start(f"primary_conninfo = 'host={self._home} port={self.port} user=postgres'\n")
        return copy

    def _start(self, settings):
        self.port = free_port()
        with open(self._home / "data/postgresql.conf", "a") as conf:
            conf.write(f"{settings}port = {self.port}\nunix_socket_directories = '{self._home}'\n")
        self._process = self._scratch.start("PostgreSQL", [self.programs / "postgres", "-D", self._home / "data"], self._home, signal.SIGINT)
        self.pid = self._process.pid
        self._wait_until_ready()

    def _wait_until_ready(self):
        for _ in range(300):
            if self._process.has_ended():
                break
            ready = subprocess.run([self.programs / "pg_isready", "-q", "-h", self._home, "-p", str(self.port)], env=clean_environment())
            if ready.returncode == 0:
                return
            time.sleep(0.1)
        raise CannotRun(f"PostgreSQL did not start: {self._process.log_tail()}")

    def _fill(self, scale):
        done = subprocess.run([self.programs / "pgbench", "-i", "-q", "-s", str(scale), "-h", HOST, "-p", str(self.port), "-U", USER, DATABASE],
                              env=client_environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise CannotRun(f"pgbench could not make its tables: {done.stderr.strip()[-500:]}")

    def sql(self, statement, database="postgres"):
        """Runs a statement as the superuser and returns what psql prints."""
        done = subprocess.run([self.programs / "psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-h", self._home, "-p", str(self.port),
                               "-U", "postgres", "-d", database, "-c", statement], env=clean_environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise CannotRun(f"PostgreSQL refused {statement!r}: {done.stderr.strip()}")
        return done.stdout.strip()

    def version(self):
        """Such as '15.18 (Debian 15.18-0+deb12u1)'."""
        return self.sql("show server_version")

    def stop(self):
        """Ends the server before the scratch directory does."""
        self._process.stop()
