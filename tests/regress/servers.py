"""The PostgreSQL servers that the suite runs on: Debian's, with their headers and pg_regress."""
import pathlib
import signal
import subprocess
import time

from lib.scratch import CannotRun, clean_environment, free_port

MAJOR = 15
DATABASE = "regression"
# What pg_regress itself sets on a database that it makes.
DATABASE_SETTINGS = {"lc_messages": "C", "lc_monetary": "C", "lc_numeric": "C", "lc_time": "C", "bytea_output": "hex",
                     "timezone_abbreviations": "Default"}
# A read-only transaction that was asked to write, or a standby that was.
READ_ONLY_SQL_TRANSACTION = "25006"


class Installed:
    """Debian's PostgreSQL with its headers and pg_regress."""

    def __init__(self):
        self.programs = pathlib.Path(f"/usr/lib/postgresql/{MAJOR}/bin")
        pgxs = self.programs.parent / "lib/pgxs"
        self.pg_regress = pgxs / "src/test/regress/pg_regress"
        if not self.pg_regress.exists() or not (self.programs / "initdb").exists():
            raise CannotRun(f"PostgreSQL {MAJOR} is not there with its development files: .ci/install regress installs them")
        asked = subprocess.run([self.programs / "pg_config", "--includedir-server", "--pkglibdir"], capture_output=True, text=True, check=True)
        self.includes, libraries = asked.stdout.split()
        self.libraries = pathlib.Path(libraries)


def wait_for(process, is_ready, seconds=60):
    """Waits until `is_ready`; `CannotRun` if the process ends before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not process.has_ended():
        if is_ready():
            return
        time.sleep(0.1)
    raise CannotRun(f"{process.name} did not start: {process.log_tail()}")


class Server:
    """A running PostgreSQL on `port`; it ends with the scratch directory."""

    def __init__(self, scratch, programs, name, home, settings):
        self.port, self._scratch, self._programs, self._home = free_port(), scratch, programs, home
        with open(home / "data/postgresql.conf", "a") as conf:
            # The state of every error, to count those that are looked for.
            conf.write(f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{home}'\nfsync = off\n"
                       f"log_line_prefix = '%m [%p] %e '\n{settings}")
        self._process = scratch.start(name, [programs / "postgres", "-D", home / "data"], home, signal.SIGINT)
        ask = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_for(self._process, lambda: subprocess.run(ask, env=clean_environment()).returncode == 0)

    def sql(self, statement):
        """Runs a statement as the superuser; what psql prints."""
        command = [self._programs / "psql", "-qXAt", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", "postgres", "-c", statement]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise CannotRun(f"PostgreSQL refused {statement!r}: {done.stderr.strip()}")
        return done.stdout.strip()

    def errors(self, state):
        """The lines of its log that tell of errors of this state, each with the statement where that is known."""
        lines = self._process.log.read_text(errors="replace").splitlines()
        marked = [n for n, line in enumerate(lines) if f"] {state} ERROR: " in line]
        return [" ".join(lines[n:n + 2]) for n in marked]

    def stop(self):
        """Ends it before the scratch directory does."""
        self._process.stop()


def start(scratch, installed):
    """A new server with an empty database for the suite."""
    home, programs = scratch.directory("postgres"), installed.programs
    scratch.run([programs / "initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust", "-U", "postgres", "-D", home / "data"], home)
    server = Server(scratch, programs, "PostgreSQL", home, "")
    server.sql(f"create database {DATABASE} template template0")
    for name, value in DATABASE_SETTINGS.items():
        server.sql(f"alter database {DATABASE} set {name} to '{value}'")
    return server


def start_replica(scratch, installed, primary):
    """A streaming replica of `primary` that has all that there is now."""
    home, programs = scratch.directory("replica"), installed.programs
    scratch.run([programs / "pg_basebackup", "-D", home / "data", "-h", "127.0.0.1", "-p", primary.port, "-U", "postgres",
                 "-c", "fast", "-X", "stream", "--no-sync"], home)
    scratch.write(home / "data/standby.signal", "")
    return Server(scratch, programs, "the replica", home, f"primary_conninfo = 'host=127.0.0.1 port={primary.port} user=postgres'\n")
