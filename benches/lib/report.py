"""The figures as Markdown."""
import math

from . import own_settings
from .goals import bytes_per_idle_client, median_rate, ratio, verdicts
from .load import median_of
from .measure import CLIENTS, CROWD_KINDS, CROWD_POOL, LOGIN_CLIENTS, POOL, PROTOCOLS

NAMES = {"pgweir": "pgweir", "pgbouncer": "PgBouncer", "haproxy": "HAProxy", "direct": "direct"}
CROWD_TITLES = {"kept": "connections kept", "per transaction": "one connection per transaction"}

# Measured with the same PgBouncer in both places, one round of one second.
SHORT_RUN = " With fewer than three rounds this is a look, not a judgement: a program differs from itself by up to 10 %."


def number(value, digits=0):
    """A figure with thousands separated, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def _times(value):
    return "–" if math.isnan(value) else f"{value:.2f} ×"


def table(head, rows):
    """A Markdown table; the columns are padded so that it reads well as plain text too. Figures stand to the right, and
    a last column of notes goes when it is empty."""
    cells = [[str(c) for c in row] for row in rows]
    if head[-1] == "note" and not any(row[-1] for row in cells):
        head, cells = head[:-1], [row[:-1] for row in cells]
    widths = [max(len(r[i]) for r in [head, *cells]) for i in range(len(head))]
    figures = [all(r[i][:1].isdigit() or r[i] == "–" for r in cells) for i in range(len(head))]

    def line(row):
        return "| " + " | ".join(c.rjust(w) if f else c.ljust(w) for c, w, f in zip(row, widths, figures)) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if f else "-") for w, f in zip(widths, figures)) + "|"
    return "\n".join([line(head), rule, *map(line, cells)])


def _failure(rates):
    """Why a cell has no figures, or how many of its rounds were dropped."""
    failures = [rate.failure for rate in rates if rate.failure]
    if not failures:
        return ""
    return failures[-1] if len(failures) == len(rates) else f"{len(failures)} of {len(rates)} rounds failed: {failures[-1]}"


def _transactions(results, names):
    measured, rows = results.transactions, []
    for protocol in PROTOCOLS:
        for clients in CLIENTS:
            for name in names:
                key, base = (name, protocol, clients), ("pgbouncer", protocol, clients)
                rates = measured[key]
                pooled = name != "direct"
                rows.append([protocol, clients, NAMES[name], number(median_rate(rates, "tps")),
                             number(median_rate(rates, "cpu_us"), 1) if pooled else "–",
                             number(median_rate(rates, "p50"), 2), number(median_rate(rates, "p99"), 2),
                             _times(ratio(measured, "tps", key, base)), _times(ratio(measured, "cpu_us", key, base)) if pooled else "–",
                             _failure(rates)])
    head = ["protocol", "clients", "through", "tps", "CPU µs/txn", "p50 ms", "p99 ms", "tps to PgBouncer", "CPU to PgBouncer", "note"]
    return f"""## Transactions

`pgbench -S` through a pool of {POOL.size}. CPU is the pooler's own.

{table(head, rows)}"""


def _logins(results, names):
    rows = []
    for name in names:
        rates, pooled = results.logins[name], name != "direct"
        rows.append([NAMES[name], number(median_rate(rates, "tps")), number(median_rate(rates, "cpu_us"), 1) if pooled else "–",
                     _times(ratio(results.logins, "tps", name, "pgbouncer")),
                     _times(ratio(results.logins, "cpu_us", name, "pgbouncer")) if pooled else "–", _failure(rates)])
    return f"""## Logins

`pgbench -S -C`, {LOGIN_CLIENTS} clients: a connection, an md5 login and one query each time.

{table(["through", "logins/s", "CPU µs/login", "logins/s to PgBouncer", "CPU to PgBouncer", "note"], rows)}"""


def _memory(results, names, clients):
    rows = []
    for name in (n for n in names if n in results.memory):
        lives = results.memory[name]
        megabytes = [number(median_of([getattr(m, what) for m in lives]) / 1e6, 1)
                     for what in ("fresh", "with_idle_clients", "peak", "after_burst", "clients_gone")]
        rows.append([NAMES[name], number(bytes_per_idle_client(lives, clients)), *megabytes])
    head = ["through", "bytes per idle client", "MB before", f"MB with {clients:,} idle", "MB at the peak", "MB after the burst, clients idle", "MB when they have left"]
    return f"""## Memory

Resident memory of the pooler. In the burst all {clients:,} clients ask at once for about 200 kB each; every answer is checked to be the client's own.

{table(head, rows)}"""


def _copies(results, names):
    rows = [[NAMES[name], number(median_of([c.megabytes_per_second for c in results.copies[name]])),
             number(median_of([c.cpu_per_gigabyte for c in results.copies[name]]), 2) if name != "direct" else "–"] for name in names]
    return f"""## COPY out

One client reads rows of 1,000 bytes.

{table(["through", "MB/s", "CPU s/GB"], rows)}"""


def _settings(results, names):
    rows = []
    for name in (n for n in names if (n, own_settings.KINDS[0]) in results.settings):
        for how in own_settings.KINDS:
            rates, base, pooled = results.settings[(name, how)], (name, own_settings.KINDS[0]), name != "direct"
            rows.append([NAMES[name], how, number(median_rate(rates, "tps")), _times(ratio(results.settings, "tps", (name, how), base)),
                         number(median_rate(rates, "cpu_us"), 1) if pooled else "–",
                         _times(ratio(results.settings, "cpu_us", (name, how), base)) if pooled else "–",
                         number(median_rate(rates, "p50"), 2), number(median_rate(rates, "p99"), 2), _failure(rates)])
    head = ["through", "clients set", "tps", "tps to nothing set", "CPU µs/txn", "CPU to nothing set", "p50 ms", "p99 ms", "note"]
    return f"""## Clients with settings of their own

{own_settings.CLIENTS} clients through a pool of {POOL.size}. Each sets a search_path and a time zone that no other has, once, and then selects from a table that its search_path finds; every answer is checked to come from the client's own schema, in its own time zone. The same clients that set nothing run the same select and the same check.

{table(head, rows)}"""


def _crowd(results, names, clients):
    rows = []
    for how in CROWD_KINDS:
        for name in (n for n in names if (n, how) in results.crowd):
            rates = results.crowd[(name, how)]
            rows.append([CROWD_TITLES[how], NAMES[name], number(median_rate(rates, "tps")), _times(ratio(results.crowd, "tps", (name, how), ("direct", how))),
                         *(number(median_rate(rates, what), 1) for what in ("p50", "p95", "p99")),
                         number(median_rate(rates, "memory") / 1e6), _failure(rates)])
    head = ["clients", "through", "tps", "tps to direct", "p50 ms", "p95 ms", "p99 ms", "PostgreSQL MB", "note"]
    return f"""## {clients:,} clients: the reason for a pooler

`pgbench -S` with {clients:,} clients through {CROWD_POOL.size} server connections and a reserve of {CROWD_POOL.reserve}, and the same clients straight to PostgreSQL. With one connection per transaction the latencies cover connecting, from one answer to the client's next. PostgreSQL's memory is the sum of its processes, shared pages counted once.

{table(head, rows)}"""


def _goals(found, size):
    if not found:
        return ""
    met = sum(v.met for v in found)
    rows = [[v.subject, v.goal, v.measured, "met" if v.met else "**missed**"] for v in found]
    return f"""## Goals

{met} of {len(found)} met.{"" if size.rounds >= 3 else SHORT_RUN}

{table(["what", "goal", "measured", ""], rows)}"""


def markdown(results, names, size, facts):
    """The whole report. `facts` are rows (what, value) on how and where it was run."""
    parts = [f"""# Side by side

Every figure is the median of {size.rounds} round{'s' if size.rounds > 1 else ''}, {size.seconds} second{'s' if size.seconds > 1 else ''} each, the programs in turn on the same machine, with pgbench and PostgreSQL beside them. Compare only within this page. [README.md](README.md) says how to run it and what is measured.

{table(["", ""], facts)}"""]
    if "pgweir" in names:
        parts.append(_goals(verdicts(results, size.idle_clients), size))
    if results.transactions:
        parts.append(_transactions(results, names))
    if results.logins:
        parts.append(_logins(results, names))
    if results.memory:
        parts.append(_memory(results, names, size.idle_clients))
    if results.copies:
        parts.append(_copies(results, names))
    if results.settings:
        parts.append(_settings(results, names))
    if results.crowd:
        parts.append(_crowd(results, names, size.crowd_clients))
    return "\n\n".join(p for p in parts if p) + "\n"
