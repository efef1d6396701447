#!/usr/bin/env python3
"""pgweir, PgBouncer, HAProxy and a direct connection on the same work, side by side.

Starts a PostgreSQL of its own and ends it again. Everything at its full size writes benches/results.md; a smaller run
only prints, unless --output names a file.
"""
import argparse
import datetime
import os
import shlex
import sys

from lib import command, machine, postgres, poolers, report
from lib.command import BENCHES, commit, names_of, positive
from lib.measure import SECTIONS, Bench, Size, planned_seconds
from lib.progress import Progress
from lib.scratch import CannotRun, Scratch

TARGETS = ("pgweir", "pgbouncer", "haproxy", "direct")


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_common(parser)
    parser.add_argument("--rounds", type=positive, help="rounds of which the median is taken (3; quick: 1)")
    parser.add_argument("--secs", type=positive, help="seconds of each timed run (5; quick: 1)")
    parser.add_argument("--only", type=names_of(tuple(SECTIONS)), default=list(SECTIONS), metavar="SECTIONS", help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--targets", type=names_of(TARGETS), default=list(TARGETS), help=f"some of {','.join(TARGETS)}")
    return parser.parse_args()


def size_of(options):
    """How much work the options ask for."""
    rounds, seconds = options.rounds or (1 if options.quick else 3), options.secs or (1 if options.quick else 5)
    if options.quick:
        return Size(rounds, seconds, idle_clients=1000, copy_rows=100_000, crowd_clients=1000, scale=1)
    return Size(rounds, seconds, idle_clients=5000, copy_rows=1_000_000, crowd_clients=1000, scale=10)


def output_of(options):
    """The file to write, or None: a small run does not replace the figures of a whole one."""
    whole = not options.quick and options.only == list(SECTIONS) and options.targets == list(TARGETS)
    return options.output or (BENCHES / "results.md" if whole else None)


def kinds_of(options, scratch):
    """The targets asked for, each with its program found; `CannotRun` names every one that is missing."""
    makers = {"pgweir": lambda: poolers.Pgweir(scratch, options.pgweir, BENCHES / "side_by_side.toml"),
              "pgbouncer": lambda: poolers.PgBouncer(scratch), "haproxy": poolers.HAProxy, "direct": poolers.Direct}
    kinds, missing = [], []
    for name in options.targets:
        try:
            kinds.append(makers[name]())
        except CannotRun as error:
            missing.append(str(error))
    if missing:
        raise CannotRun("\n".join(missing))
    return kinds


def require_open_files(size, sections):
    """Raises the limit on open files; `CannotRun` if it stays too low for the sections."""
    limit = machine.raise_open_files()
    # A pooler needs a descriptor per client and some; HAProxy two per connection it is configured for.
    needed = max(size.idle_clients + 500 if "idle" in sections else 0, 2 * poolers.HAPROXY_CONNECTIONS + 200)
    if limit < needed:
        raise CannotRun(f"only {limit} open files are allowed and {needed} are needed: raise the hard limit (ulimit -Hn), "
                        "in /etc/security/limits.conf or by running as root")


def command_line():
    """How the benchmark was called, without this machine's directories."""
    words = ["python3", "benches/run.py"]
    words += [os.path.basename(w) if os.path.isabs(w) else w for w in sys.argv[1:]]
    named = "PGBOUNCER=.../pgbouncer " if "PGBOUNCER" in os.environ else ""
    return f"`{named}{shlex.join(words)}`"


def facts_of(bench, kinds, load):
    """Rows that say how, where and with what it was run."""
    versions = [(report.NAMES[k.name], k.version()) for k in kinds if k.version()]
    return [("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")), ("command", command_line()),
            *machine.description(), ("load before", f"{load:.2f}"), ("PostgreSQL", bench.postgres_version),
            *versions, ("pgweir's commit", commit())]


def run(options):
    """Measures, prints, writes."""
    size, output = size_of(options), output_of(options)
    require_open_files(size, options.only)
    load = machine.load_average()
    with Scratch() as scratch:
        kinds = kinds_of(options, scratch)
        progress = Progress(planned_seconds(options.only, kinds, size))
        command.note_load(load, progress)
        bench = Bench(scratch, postgres.find_programs(), kinds, size, progress)
        for section in options.only:
            SECTIONS[section](bench)
        progress.finish()
        text = report.markdown(bench.results, [k.name for k in kinds], size, facts_of(bench, kinds, load))
    command.conclude(text, output, progress)


if __name__ == "__main__":
    command.main(run, arguments)
