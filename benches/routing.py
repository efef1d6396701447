#!/usr/bin/env python3
"""What reads on replicas bring, and what they cost: pgweir with and without read_write_split, in pairs.

Starts a primary and two replicas of its own and ends them again. At its full size it writes benches/routing.md; a smaller
run only prints, unless --output names a file.
"""
import argparse
import datetime
import statistics

from lib import command, machine, postgres, poolers, report, routing
from lib.command import BENCHES, commit, names_of, positive
from lib.progress import Progress
from lib.scratch import CannotRun, Scratch

SCALE = 10


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_common(parser)
    parser.add_argument("--rounds", type=positive, help="rounds of which the median is taken (15; quick: 1)")
    parser.add_argument("--secs", type=positive, help="seconds of each timed run (2)")
    parser.add_argument("--only", type=names_of(tuple(routing.SECTIONS)), default=list(routing.SECTIONS), metavar="SECTIONS", help=f"some of {','.join(routing.SECTIONS)}")
    return parser.parse_args()


def verdict(is_met):
    return "met" if is_met else "**missed**"


def scale_text(pairs):
    """The section on what replicas bring."""
    ratio = routing.median_ratio(pairs)
    alone, with_replicas = (statistics.median(p[n] for p in pairs) for n in (0, 1))
    rows = [["the primary alone", report.number(alone), "", ""],
            [f"and {routing.REPLICAS} replicas", report.number(with_replicas), f"{ratio:.2f} ×", f"≥ {routing.SCALE_GOAL} ×: {verdict(round(ratio, 2) >= routing.SCALE_GOAL)}"]]
    return f"""## Reads scale

{routing.SCALE_CLIENTS} clients that read a row and sleep {routing.SLEEP_SECONDS * 1000:.0f} ms on the server, {routing.SCALE_POOL.size} server connections at each host: a host does at most {routing.SCALE_POOL.size / routing.SLEEP_SECONDS:,.0f} a second.

{report.table(["hosts", "reads/s", "to the primary alone", "goal"], rows)}"""


def cost_text(cost):
    """The section on what routing costs."""
    rows = []
    for protocol, pairs in cost.items():
        ratio = routing.median_ratio(pairs)
        off, on = (statistics.median(p[n] for p in pairs) for n in (0, 1))
        rows.append([protocol, report.number(off, 1), report.number(on, 1), f"{ratio:.2f} ×", f"≤ {routing.COST_GOAL} ×: {verdict(round(ratio, 2) <= routing.COST_GOAL)}"])
    return f"""## The cost of a routed read

`pgbench -S`, {routing.COST_CLIENTS} clients, the pooler's CPU µs per transaction. The same hosts in both; nobody writes.

{report.table(["protocol", "everything to the primary", "reads to replicas", "ratio", "goal"], rows)}"""


def run(options):
    """Measures, prints, writes."""
    rounds, seconds = options.rounds or (1 if options.quick else 15), options.secs or 2
    whole = not options.quick and options.only == list(routing.SECTIONS)
    output = options.output or (BENCHES / "routing.md" if whole else None)
    load = machine.load_average()
    progress = Progress(routing.planned_seconds(options.only, rounds, seconds))
    command.note_load(load, progress)
    with Scratch() as scratch:
        progress.step("a primary and its replicas: starting", 0)
        primary = postgres.Postgres(scratch, postgres.find_programs(), max_connections=200, scale=SCALE, settings=postgres.OF_PRIMARY)
        replicas = [primary.replica() for _ in range(routing.REPLICAS)]
        unrouted, routed = (poolers.RoutingPgweir(scratch, options.pgweir, BENCHES / "routing.toml", replicas, splitting) for splitting in (False, True))
        bench = routing.Routing(scratch, primary, unrouted, routed, seconds, rounds, progress)
        for section in options.only:
            routing.SECTIONS[section](bench)
        progress.finish()
        facts = [("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")), *machine.description(), ("load before", f"{load:.2f}"),
                 ("PostgreSQL", primary.version()), ("pgweir", routed.version()), ("pgweir's commit", commit())]
    text = f"""# Reads on replicas

Medians of {rounds} round{'s' if rounds > 1 else ''} of {seconds} seconds each, with and without routing in turn; a ratio is the median of the rounds' ratios. pgbench, PostgreSQL and its replicas are on the same machine. `make bench-routing` writes this page.

{report.table(["", ""], facts)}
"""
    if bench.results.scale:
        text += f"\n{scale_text(bench.results.scale)}\n"
    if bench.results.cost:
        text += f"\n{cost_text(bench.results.cost)}\n"
    command.conclude(text, output, progress)


if __name__ == "__main__":
    command.main(run, arguments)
