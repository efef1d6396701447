"""What pgweir is to reach, judged within one run; a goal without its figures is left out."""
from dataclasses import dataclass

from .load import median_of
from .measure import CLIENTS, PROTOCOLS

IDLE_BYTES_PER_CLIENT = 2300
COPY_CPU_PER_GIGABYTE = 0.9
LOGIN_CPU_RATIO = 1.1
EXTENDED_100_TPS_RATIO = 1.1
SETTINGS_TPS_RATIO = 0.8
CROWD_TPS_RATIO = 3.0


@dataclass(frozen=True)
class Verdict:
    """One goal: what it is about, the goal as text, the figure as text, and whether it was met."""
    subject: str
    goal: str
    measured: str
    met: bool


def median_rate(rates, what):
    """The median of one figure over the rounds that worked; NaN when none did."""
    return median_of([getattr(rate, what) for rate in rates if not rate.failure])


def ratio(table, what, key, other):
    """Figure `what` of `key` over that of `other`; NaN when either is missing."""
    if key not in table or other not in table:
        return float("nan")
    below = median_rate(table[other], what)
    return median_rate(table[key], what) / below if below else float("nan")


def _at_most(subject, figure, limit, unit=" ×", digits=2):
    return Verdict(subject, f"≤ {limit:,.{digits}f}{unit}", f"{figure:,.{digits}f}{unit}", round(figure, digits) <= limit)


def _at_least(subject, figure, limit, unit=" ×", digits=2):
    return Verdict(subject, f"≥ {limit:,.{digits}f}{unit}", f"{figure:,.{digits}f}{unit}", round(figure, digits) >= limit)


def _transactions(table):
    for protocol in PROTOCOLS:
        for clients in CLIENTS:
            ours, theirs = ("pgweir", protocol, clients), ("pgbouncer", protocol, clients)
            cell = f"{protocol}, {clients} client{'s' if clients > 1 else ''}"
            if protocol == "prepared":
                yield _at_most(f"CPU per transaction, {cell}, to pgweir's extended", ratio(table, "cpu_us", ours, ("pgweir", "extended", clients)), 1.0)
            else:
                yield _at_most(f"CPU per transaction, {cell}, to PgBouncer", ratio(table, "cpu_us", ours, theirs), 1.0)
            limit = EXTENDED_100_TPS_RATIO if (protocol, clients) == ("extended", 100) else 1.0
            yield _at_least(f"transactions/s, {cell}, to PgBouncer", ratio(table, "tps", ours, theirs), limit)


def bytes_per_idle_client(memories, clients):
    """Resident bytes that each idle client added."""
    return median_of([(m.with_idle_clients - m.fresh) / clients for m in memories])


def _memory(memories, clients):
    yield _at_most("user memory per idle client", bytes_per_idle_client(memories, clients), IDLE_BYTES_PER_CLIENT, " bytes", 0)
    # Gone back: what stays is no more than the same clients may cost when they do nothing.
    left = median_of([m.clients_gone - m.fresh for m in memories]) / 1e6
    yield _at_most("memory kept when the clients of the burst have left", left, clients * IDLE_BYTES_PER_CLIENT / 1e6, " MB", 1)


def verdicts(results, idle_clients):
    """Every goal that the results have figures for."""
    found = []
    if results.transactions:
        found += _transactions(results.transactions)
    if results.logins:
        found.append(_at_most("CPU per login, to PgBouncer", ratio(results.logins, "cpu_us", "pgweir", "pgbouncer"), LOGIN_CPU_RATIO))
    if "pgweir" in results.memory:
        found += _memory(results.memory["pgweir"], idle_clients)
    if "pgweir" in results.copies:
        found.append(_at_most("COPY out, CPU seconds per GB", median_of([c.cpu_per_gigabyte for c in results.copies["pgweir"]]), COPY_CPU_PER_GIGABYTE, " s"))
    if results.settings:
        found.append(_at_least("transactions/s, 100 clients with settings of their own, to clients that set nothing",
                               ratio(results.settings, "tps", ("pgweir", "their own"), ("pgweir", "nothing")), SETTINGS_TPS_RATIO))
    if results.crowd:
        how = "per transaction"
        found.append(_at_least("transactions/s, 1,000 clients, a connection per transaction, to direct",
                               ratio(results.crowd, "tps", ("pgweir", how), ("direct", how)), CROWD_TPS_RATIO))
    return [v for v in found if "nan" not in v.measured]
