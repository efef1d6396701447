"""The measurements. Each goes round by round through the targets, so that a drift of the machine meets all of them,
and keeps every round's figures; the report takes medians."""
import math
import time
from dataclasses import dataclass, field, replace

from . import machine, own_settings
from .clients import Crowd, WrongAnswer
from .load import BEFORE_END_SECONDS, COPY_ROW_BYTES, copy_out, pgbench
from .poolers import Pool
from .postgres import DATABASE, Postgres
from .scratch import CannotRun

PROTOCOLS = ("simple", "extended", "prepared")
CLIENTS = (1, 10, 100)
POOL = Pool(size=10)
CROWD_POOL = Pool(size=25, reserve=5)
CROWD_KINDS = ("kept", "per transaction")
# A backend outlives its client for a moment, so 1,000 reconnecting clients need more than 1,000 places.
CROWD_MAX_CONNECTIONS = 3000
# pgbench's threads for clients that stay connected: one alone takes long to connect a thousand.
KEPT_THREADS = 4
LOGIN_CLIENTS = 8
WARM_UP_SECONDS = 1
# Freed memory and closed connections need a moment to show in RSS.
SETTLE_SECONDS = 2
# The failure of a run too short for its clients to connect.
NOTHING_FINISHED = "no transaction finished"


@dataclass(frozen=True)
class Size:
    """How much work a run is."""
    rounds: int
    seconds: int
    idle_clients: int
    copy_rows: int
    crowd_clients: int
    scale: int


@dataclass(frozen=True)
class Rate:
    """One timed run through a target. CPU is the pooler's, in microseconds per transaction; latencies in ms.
    `memory` is PostgreSQL's in bytes where it was asked for. A `failure` makes the figures worthless."""
    tps: float
    cpu_us: float
    p50: float
    p95: float
    p99: float
    memory: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a pooler along one life."""
    fresh: int
    with_idle_clients: int
    peak: int
    after_burst: int
    clients_gone: int


@dataclass(frozen=True)
class Copy:
    """COPY out: megabytes per second, and the pooler's CPU seconds per gigabyte."""
    megabytes_per_second: float
    cpu_per_gigabyte: float


@dataclass
class Results:
    """Every round's figures. Keys: (target, protocol, clients), target, or (target, one of the section's kinds)."""
    transactions: dict = field(default_factory=dict)
    logins: dict = field(default_factory=dict)
    memory: dict = field(default_factory=dict)
    copies: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    crowd: dict = field(default_factory=dict)


def _note(table, key, value):
    table.setdefault(key, []).append(value)


class Bench:
    """The targets, the PostgreSQL behind them and the size of the work; one method per measurement."""

    def __init__(self, scratch, programs, kinds, size, progress):
        self._scratch, self._programs, self._kinds = scratch, programs, kinds
        self._size, self._progress = size, progress
        self._postgres = None
        self.results = Results()
        self.postgres_version = ""

    def _server(self):
        """The PostgreSQL of everything but the crowd."""
        if self._postgres is None:
            self._progress.step("PostgreSQL: starting", 0)
            self._postgres = Postgres(self._scratch, self._programs, max_connections=300, scale=self._size.scale)
            self.postgres_version = self._postgres.version()
        return self._postgres

    def _turns(self, kinds):
        """(round, kind) for every round, another kind first in each."""
        for number in range(self._size.rounds):
            first = number % len(kinds) if kinds else 0
            for kind in kinds[first:] + kinds[:first]:
                yield number + 1, kind

    def _timed(self, target, postgres, protocol, clients, connecting=0, **how):
        """A run of the usual length after `connecting` seconds for the clients to connect."""
        before = target.cpu_seconds()
        run = pgbench(postgres, target, protocol, clients, self._size.seconds + connecting, **how)
        used = target.cpu_seconds() - before
        if target.has_ended():
            raise CannotRun(f"{target.name} ended in the middle of a measurement:\n{target.log_tail()}")
        failure = run.failure or ("" if run.transactions else NOTHING_FINISHED)
        return Rate(run.tps, used / run.transactions * 1e6 if run.transactions else float("nan"),
                    run.p50, run.p95, run.p99, failure=failure)

    def transactions(self):
        """pgbench -S: every protocol and number of clients."""
        postgres = self._server()
        for number, kind in self._turns(self._kinds):
            with kind.start(self._scratch, postgres, POOL) as target:
                pgbench(postgres, target, "simple", 10, WARM_UP_SECONDS)
                for protocol in PROTOCOLS:
                    for clients in CLIENTS:
                        self._progress.step(f"round {number}: {kind.name}, {protocol}, {clients} client(s)", self._size.seconds)
                        refusal = kind.prepared_refusal() if protocol == "prepared" else None
                        rate = (Rate(*[float("nan")] * 5, failure=refusal) if refusal
                                else self._timed(target, postgres, protocol, clients))
                        _note(self.results.transactions, (kind.name, protocol, clients), rate)

    def logins(self):
        """pgbench -S -C: a new connection for every transaction."""
        postgres = self._server()
        for number, kind in self._turns(self._kinds):
            with kind.start(self._scratch, postgres, POOL) as target:
                self._progress.step(f"round {number}: {kind.name}, logins", self._size.seconds)
                pgbench(postgres, target, "simple", LOGIN_CLIENTS, WARM_UP_SECONDS, reconnect=True)
                _note(self.results.logins, kind.name, self._timed(target, postgres, "simple", LOGIN_CLIENTS, reconnect=True))

    def memory(self):
        """Resident memory with many idle clients, in a burst of all of them, and after it."""
        postgres = self._server()
        for number, kind in self._turns([k for k in self._kinds if k.is_pooler]):
            with kind.start(self._scratch, postgres, POOL) as target:
                self._progress.step(f"round {number}: {kind.name}, memory of {self._size.idle_clients} clients", idle_seconds(self._size))
                pgbench(postgres, target, "simple", 10, WARM_UP_SECONDS)
                fresh = machine.resident_bytes(target.pid)
                try:
                    with Crowd(target.port, self._size.idle_clients) as crowd:
                        time.sleep(SETTLE_SECONDS)
                        idle = machine.resident_bytes(target.pid)
                        crowd.burst()
                        peak = machine.peak_resident_bytes(target.pid)
                        time.sleep(SETTLE_SECONDS)
                        after = machine.resident_bytes(target.pid)
                    time.sleep(SETTLE_SECONDS)
                except (WrongAnswer, OSError) as error:
                    raise CannotRun(f"{kind.name} with {self._size.idle_clients} clients: {error}\n{target.log_tail()}") from error
                gone = machine.resident_bytes(target.pid)
                _note(self.results.memory, kind.name, Memory(fresh, idle, peak, after, gone))

    def copies(self):
        """COPY to stdout of one big result."""
        postgres = self._server()
        rows, expected = self._size.copy_rows, self._size.copy_rows * (COPY_ROW_BYTES + 1)
        for number, kind in self._turns(self._kinds):
            with kind.start(self._scratch, postgres, POOL) as target:
                self._progress.step(f"round {number}: {kind.name}, COPY", copy_seconds(self._size))
                copy_out(postgres, target, rows // 10)
                before = target.cpu_seconds()
                received, seconds = copy_out(postgres, target, rows)
                used = target.cpu_seconds() - before
                if received != expected:
                    raise CannotRun(f"COPY through {kind.name} gave {received} bytes instead of {expected}\n{target.log_tail()}")
                _note(self.results.copies, kind.name, Copy(received / 1e6 / seconds, used / received * 1e9))

    def settings(self):
        """Clients that each set a search_path and a time zone of their own, and the same clients without."""
        postgres = self._server()
        self._progress.step("a schema for each client", 0)
        own_settings.prepare(postgres, DATABASE)
        directory = self._scratch.directory("scripts")
        scripts = {how: self._scratch.write(directory / f"{number}.sql", own_settings.script(how))
                   for number, how in enumerate(own_settings.KINDS)}
        for number, kind in self._turns(with_settings(self._kinds)):
            with kind.start(self._scratch, postgres, POOL) as target:
                able = settings_kinds(kind)
                if kind.is_pooler:
                    pgbench(postgres, target, "simple", own_settings.CLIENTS, WARM_UP_SECONDS, script=scripts[able[-1]], variables=own_settings.VARIABLES)
                for how in own_settings.KINDS if number % 2 else reversed(own_settings.KINDS):
                    self._progress.step(f"round {number}: {kind.name}, {own_settings.CLIENTS} clients that set {how}", self._size.seconds)
                    if how in able:
                        rate = self._timed(target, postgres, "simple", own_settings.CLIENTS, script=scripts[how], variables=own_settings.VARIABLES)
                        if rate.failure not in ("", NOTHING_FINISHED):
                            raise CannotRun(f"{kind.name}, clients that set {how}: {rate.failure}\n{target.log_tail()}")
                    else:
                        rate = Rate(*[float("nan")] * 5, failure=kind.settings_refusal())
                    _note(self.results.settings, (kind.name, how), rate)

    def crowd(self):
        """A thousand clients through a small pool, and straight to PostgreSQL."""
        if self._postgres:
            self._postgres.stop()
            self._postgres = None
        self._progress.step("PostgreSQL with places for everybody: starting", 0)
        postgres = Postgres(self._scratch, self._programs, max_connections=CROWD_MAX_CONNECTIONS, scale=self._size.scale)
        self.postgres_version = postgres.version()
        kinds = [k for k in self._kinds if k.name != "haproxy"]
        clients = self._size.crowd_clients
        memory, connecting = {}, {}
        for kind in kinds:
            with kind.start(self._scratch, postgres, CROWD_POOL) as target:
                for how in CROWD_KINDS:
                    key = (kind.name, how)
                    self._progress.step(f"{kind.name}, PostgreSQL's memory, connections {how}", crowd_memory_seconds(self._size))
                    memory[key], connecting[key] = self._crowd_memory(target, postgres, how, clients)
        for number, kind in self._turns(kinds):
            with kind.start(self._scratch, postgres, CROWD_POOL) as target:
                for how in CROWD_KINDS:
                    key = (kind.name, how)
                    self._progress.step(f"round {number}: {kind.name}, {clients} clients, connections {how}", self._size.seconds + 2)
                    rate = self._timed(target, postgres, "simple", clients, connecting=connecting[key], **crowd_options(how, clients))
                    _note(self.results.crowd, key, replace(rate, memory=memory[key]))
        postgres.stop()

    def _crowd_memory(self, target, postgres, how, clients):
        """(PostgreSQL's bytes, seconds until all are connected), in a run of its own: reading the memory of a thousand
        processes costs time that the figures must not contain."""
        seen = []
        run = pgbench(postgres, target, "simple", clients, crowd_memory_seconds(self._size),
                      before_end=lambda: seen.append(machine.proportional_bytes(postgres.pid)), **crowd_options(how, clients))
        return seen[0], math.ceil(run.connecting_seconds * 1.3)


def with_settings(kinds):
    """The targets of the section on settings; HAProxy gives each client a server of its own, as nothing at all does."""
    return [k for k in kinds if k.name != "haproxy"]


def settings_kinds(kind):
    """What clients may set through a target of this kind."""
    return own_settings.KINDS[:1] if kind.settings_refusal() else own_settings.KINDS


def crowd_options(how, clients):
    """pgbench connects synchronously, so clients that connect all the time need a thread each to be independent."""
    return {"threads": clients, "reconnect": True} if how == "per transaction" else {"threads": KEPT_THREADS}


def crowd_memory_seconds(size):
    """How long a crowd runs whose memory is read: all must be connected before, and still be there after."""
    return 2 * size.seconds + 8 + BEFORE_END_SECONDS


def idle_seconds(size):
    """About how long one memory measurement takes."""
    return 3 * SETTLE_SECONDS + WARM_UP_SECONDS + size.idle_clients * 0.0015


def copy_seconds(size):
    """About how long one COPY measurement takes."""
    return size.copy_rows * COPY_ROW_BYTES / 400e6


SECTIONS = {"txn": Bench.transactions, "login": Bench.logins, "idle": Bench.memory, "copy": Bench.copies, "settings": Bench.settings, "crowd": Bench.crowd}


def planned_seconds(sections, kinds, size):
    """About how long the sections take, for the progress line."""
    poolers = sum(k.is_pooler for k in kinds)
    in_crowd = sum(k.name != "haproxy" for k in kinds)
    cells = len(PROTOCOLS) * len(CLIENTS)
    planned = {"txn": size.rounds * len(kinds) * cells * size.seconds,
               "login": size.rounds * len(kinds) * size.seconds,
               "idle": size.rounds * poolers * idle_seconds(size),
               "copy": size.rounds * len(kinds) * copy_seconds(size),
               "settings": size.rounds * sum(len(settings_kinds(k)) * size.seconds + k.is_pooler * WARM_UP_SECONDS for k in with_settings(kinds)),
               "crowd": in_crowd * len(CROWD_KINDS) * (size.rounds * (size.seconds + 2) + crowd_memory_seconds(size))}
    return sum(planned[name] for name in sections)
