"""What reads on replicas bring, and what they cost.

`scale`: hosts that are the limit, because each has a small pool and every read sleeps on its server. `cost`: the pooler's
CPU for reads that it routes to a replica, and for the same reads without routing, in pairs one right after the other.
"""
import statistics
import time
from dataclasses import dataclass, field

from .load import ask, pgbench
from .poolers import Pool
from .postgres import DATABASE
from .scratch import CannotRun

REPLICAS = 2
# A host with so many servers that each sleep so long does at most SCALE_POOL / SLEEP_SECONDS reads a second, which takes
# next to nothing of a core.
SCALE_POOL = Pool(size=10)
SLEEP_SECONDS = 0.025
# More than all servers of all hosts, so that none is idle for want of a client.
SCALE_CLIENTS = 60
SCALE_SCRIPT = f"""\\set aid random(1, 100000)
SELECT abalance, pg_sleep({SLEEP_SECONDS}) FROM pgbench_accounts WHERE aid = :aid;
"""
COST_POOL = Pool(size=10)
COST_CLIENTS = 10
COST_PROTOCOLS = ("simple", "extended", "prepared")
# Of the reads that were to be routed so many must have been, or the figures are about something else.
LEAST_ROUTED = 0.99
CONNECTING_SECONDS = 0.5
WARM_UP_SECONDS = 2
PATIENCE_SECONDS = 20

SCALE_GOAL = 1.8
COST_GOAL = 1.1


@dataclass
class Results:
    """Every round's figures: transactions/s without and with replicas; CPU µs per transaction without and with routing, by
    protocol."""
    scale: list = field(default_factory=list)
    cost: dict = field(default_factory=dict)


def median_ratio(pairs):
    """The median over the rounds of the second figure to the first: a drift of the machine meets both of a pair."""
    return statistics.median(with_it / without for without, with_it in pairs)


def reads_at(routes):
    """How many statements went to replicas and to the primary, from what psql prints of SHOW ROUTES."""
    counts = {"replica": 0, "primary": 0}
    for line in routes.splitlines():
        _, to, _, count = line.split("|")
        counts[to] = counts.get(to, 0) + int(count)
    return counts["replica"], counts["primary"]


class Routing:
    """The servers, and the two ways to reach them: one keeps every read at the primary, the other routes."""

    def __init__(self, scratch, primary, unrouted, routed, seconds, rounds, progress):
        self._scratch, self._primary, self._kinds = scratch, primary, (unrouted, routed)
        self._seconds, self._rounds, self._progress = seconds, rounds, progress
        self.results = Results()

    def _pair(self, number, what, measure):
        """`measure` of both, first the one and in the next round first the other; (unrouted, routed)."""
        figures = {}
        for routing in (False, True) if number % 2 else (True, False):
            self._progress.step(f"round {number + 1}: {what}, {'with' if routing else 'without'} routing", self._seconds + CONNECTING_SECONDS)
            figures[routing] = measure(routing)
        return figures[False], figures[True]

    def _start(self, pool, routing):
        target = self._kinds[routing].start(self._scratch, self._primary, pool)
        deadline = time.monotonic() + PATIENCE_SECONDS
        # The catalog is read in the background; until then everything stays at the primary.
        while routing and self._routed(target)[0] == 0:
            if time.monotonic() > deadline:
                hosts = ask(self._primary, target, "pgweir", "show hosts")
                target.stop()
                raise CannotRun(f"no read goes to a replica\n{hosts}\n{target.log_tail()}")
            ask(self._primary, target, DATABASE, "select count(*) from pgbench_branches")
        return target

    def _routed(self, target):
        return reads_at(ask(self._primary, target, "pgweir", "show routes"))

    def _measure(self, target, routing, *how, **more):
        """A timed run; the run and the pooler's CPU seconds."""
        before, cpu = self._routed(target), target.cpu_seconds()
        run = pgbench(self._primary, target, *how, self._seconds, **more)
        cpu = target.cpu_seconds() - cpu
        after = self._routed(target)
        if run.failure or not run.transactions:
            raise CannotRun(f"pgbench: {run.failure or 'no transaction finished'}\n{target.log_tail()}")
        at_replicas, at_primary = after[0] - before[0], after[1] - before[1]
        if routing and at_replicas < LEAST_ROUTED * (at_replicas + at_primary):
            raise CannotRun(f"only {at_replicas} of {at_replicas + at_primary} reads went to replicas")
        return run, cpu

    def scale(self):
        """Transactions/s of the primary alone, and with two replicas beside it."""
        script = self._scratch.write(self._scratch.directory("scripts") / "scale.sql", SCALE_SCRIPT)
        with self._start(SCALE_POOL, False) as unrouted, self._start(SCALE_POOL, True) as routed:
            def measure(routing):
                return self._measure((unrouted, routed)[routing], routing, "extended", SCALE_CLIENTS, script=script)[0].tps
            for number in range(self._rounds):
                self.results.scale.append(self._pair(number, "reads that sleep", measure))

    def cost(self):
        """The pooler's CPU per transaction."""
        with self._start(COST_POOL, False) as unrouted, self._start(COST_POOL, True) as routed:
            def measure(routing):
                run, cpu = self._measure((unrouted, routed)[routing], routing, protocol, COST_CLIENTS)
                return cpu / run.transactions * 1e6
            for protocol in COST_PROTOCOLS:
                for target in (unrouted, routed):
                    pgbench(self._primary, target, protocol, COST_CLIENTS, WARM_UP_SECONDS)
                self.results.cost[protocol] = [self._pair(number, f"pgbench -S, {protocol}", measure) for number in range(self._rounds)]


SECTIONS = {"scale": Routing.scale, "cost": Routing.cost}


def planned_seconds(sections, rounds, seconds):
    """About how long the sections take."""
    pairs = {"scale": 1, "cost": len(COST_PROTOCOLS)}
    return sum(pairs[name] for name in sections) * rounds * 2 * (seconds + CONNECTING_SECONDS)
