"""What stands between the clients and PostgreSQL: pgweir, PgBouncer, HAProxy, or nothing.

All serve database bench to user bench with md5, in transaction mode, with the same pool; threads are two where a
program has threads.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

from . import machine
from .postgres import DATABASE, HOST, PASSWORD, USER, client_environment
from .scratch import CannotRun, free_port

# HAProxy reserves two descriptors per connection before it starts; this is above anything asked of it here.
HAPROXY_CONNECTIONS = 4000
MAX_CLIENTS = 20000


@dataclass(frozen=True)
class Pool:
    """Server connections: the usual number, and how many more once a client has waited `reserve_timeout_seconds`."""
    size: int
    reserve: int = 0
    reserve_timeout_seconds: int = 1


class Target:
    """Something to send clients to, listening on `port`. `pid` is None when nothing stands in between."""

    def __init__(self, name, port, process=None):
        self.name, self.port, self._process = name, port, process
        self.pid = process.pid if process else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def cpu_seconds(self):
        """CPU used so far by the pooler; 0 when there is none."""
        return machine.cpu_seconds(self.pid) if self.pid and not self.has_ended() else 0.0

    def has_ended(self):
        """Whether the pooler has ended by itself."""
        return self._process is not None and self._process.has_ended()

    def log_tail(self):
        """The end of what the pooler has printed."""
        return self._process.log_tail() if self._process else ""

    def stop(self):
        """Ends the pooler, if there is one."""
        if self._process:
            self._process.stop()


class Kind:
    """One way to reach PostgreSQL; `version` is for the report, `start` brings it up in front of `postgres`."""
    name = ""
    # A pooler lets thousands of clients share a few server connections; HAProxy and nothing at all do not.
    is_pooler = True

    def version(self):
        """The program's version, or None when there is no program."""
        return None

    def prepared_refusal(self):
        """Why `pgbench -M prepared` cannot work in transaction mode, or None when it can."""
        return None

    def settings_refusal(self):
        """Why clients cannot have settings of their own in transaction mode, or None when they can."""
        return None

    def start(self, scratch, postgres, pool):
        """Starts it and returns a `Target` that answers queries; `CannotRun` with its log if it does not."""
        directory, port = scratch.directory(self.name), free_port()
        command = self._configure(scratch, directory, port, postgres.port, pool)
        # Every figure is taken before the end, so nothing is gained by a graceful one.
        target = Target(self.name, port, scratch.start(self.name, command, directory, signal.SIGKILL))
        self._wait_until_ready(target, postgres)
        return target

    def _configure(self, scratch, directory, port, pg_port, pool):
        raise NotImplementedError

    @staticmethod
    def _wait_until_ready(target, postgres):
        command = [postgres.programs / "psql", "-qXAt", "-h", HOST, "-p", str(target.port), "-U", USER, "-d", DATABASE, "-c", "select 1"]
        for _ in range(100):
            asked = subprocess.run(command, env=client_environment() | {"PGCONNECT_TIMEOUT": "5"}, capture_output=True, text=True)
            if asked.returncode == 0:
                return
            if target.has_ended():
                break
            time.sleep(0.1)
        target.stop()
        raise CannotRun(f"{target.name} does not answer: {asked.stderr.strip()}\n{target.log_tail()}")


class Direct(Kind):
    """The clients connect to PostgreSQL itself."""
    name = "direct"
    is_pooler = False

    def start(self, scratch, postgres, pool):
        return Target(self.name, postgres.port)


class Pgweir(Kind):
    """This project's program, configured by `template` (side_by_side.toml)."""
    name = "pgweir"

    def __init__(self, scratch, program, template):
        if not program.exists():
            raise CannotRun(f"{program} is not there: cargo build --release")
        self._program, self._template = scratch.copy_program(program), template.read_text()

    def version(self):
        asked = subprocess.run([self._program, "--version"], capture_output=True, text=True)
        found = re.search(r"\d+\.\d+\.\d+\S*", asked.stdout)
        return found.group(0) if asked.returncode == 0 and found else "unknown"

    def _configure(self, scratch, directory, port, pg_port, pool):
        text = self._template
        for key, value in (("{port}", port), ("{pg_port}", pg_port), ("{pool}", pool.size), ("{dir}", directory)):
            text = text.replace(key, str(value))
        if pool.reserve:
            reserve = f"reserve_pool_size = {pool.reserve}\nreserve_pool_timeout = {pool.reserve_timeout_seconds}\n"
            text = text.replace("[pgweir]\n", "[pgweir]\n" + reserve, 1)
        return [self._program, scratch.write(directory / "pgweir.toml", text)]


class RoutingPgweir(Pgweir):
    """pgweir before a primary and replicas, configured by `template` (routing.toml): reads go to the replicas if there are
    any and it is `splitting`. `start` takes the primary."""

    def __init__(self, scratch, program, template, replicas, splitting):
        super().__init__(scratch, program, template)
        self._replicas, self._splitting = replicas, splitting

    def _configure(self, scratch, directory, port, pg_port, pool):
        hosts = ", ".join(f'"{HOST}:{p}"' for p in [pg_port, *(r.port for r in self._replicas)])
        command = super()._configure(scratch, directory, port, pg_port, pool)
        text = command[-1].read_text().replace("{hosts}", hosts).replace("{split}", str(self._splitting).lower())
        scratch.write(command[-1], text)
        return command


class PgBouncer(Kind):
    """Debian's PgBouncer, or the one $PGBOUNCER names."""
    name = "pgbouncer"

    def __init__(self, scratch):
        named = os.environ.get("PGBOUNCER")
        found = named or shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if not found:
            raise CannotRun("PgBouncer is not installed: apt-get install pgbouncer (or set PGBOUNCER to the program)")
        if not os.access(found, os.X_OK):
            raise CannotRun(f"PGBOUNCER names {found}, which is not a program")
        self._program = scratch.copy_program(found) if named else pathlib.Path(found)
        printed = subprocess.run([self._program, "--version"], capture_output=True, text=True).stdout
        parsed = re.search(r"PgBouncer (\d+)\.(\d+)\S*", printed)
        if not parsed:
            raise CannotRun(f"{found} --version did not say 'PgBouncer N.N': {printed.strip()[:100]!r}")
        self._version = parsed.group(0).split()[1]
        self._number = (int(parsed.group(1)), int(parsed.group(2)))

    def version(self):
        return self._version

    def prepared_refusal(self):
        if self._number < (1, 21):
            return f"not in transaction mode before 1.21 (this is {self._version})"
        return None

    def settings_refusal(self):
        return "what a client sets stays on the server, and the next client has it"

    def _configure(self, scratch, directory, port, pg_port, pool):
        scratch.write(directory / "users.txt", f'"{USER}" "{PASSWORD}"\n')
        prepared = "" if self.prepared_refusal() else "max_prepared_statements = 200\n"
        return [self._program, "-q", scratch.write(directory / "pgbouncer.ini", f"""[databases]
{DATABASE} = host={HOST} port={pg_port} dbname={DATABASE}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
listen_backlog = 4096
unix_socket_dir =
auth_type = md5
auth_file = {directory}/users.txt
admin_users = {USER}
pool_mode = transaction
default_pool_size = {pool.size}
reserve_pool_size = {pool.reserve}
reserve_pool_timeout = {pool.reserve_timeout_seconds}
max_client_conn = {MAX_CLIENTS}
{prepared}log_connections = 0
log_disconnections = 0
""")]


class HAProxy(Kind):
    """HAProxy in TCP mode: moves bytes and pools nothing, what a proxy costs that knows no PostgreSQL."""
    name = "haproxy"
    is_pooler = False

    def __init__(self):
        self._program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        if not self._program:
            raise CannotRun("HAProxy is not installed: apt-get install haproxy")

    def version(self):
        printed = subprocess.run([self._program, "-v"], capture_output=True, text=True).stdout
        found = re.search(r"version (\S+)", printed)
        return found.group(1) if found else "unknown"

    def _configure(self, scratch, directory, port, pg_port, pool):
        return [self._program, "-db", "-f", scratch.write(directory / "haproxy.cfg", f"""global
  maxconn {HAPROXY_CONNECTIONS}
  nbthread 2
defaults
  mode tcp
  timeout connect 10s
  timeout client 10m
  timeout server 10m
listen postgresql
  bind {HOST}:{port}
  server postgresql {HOST}:{pg_port}
""")]
