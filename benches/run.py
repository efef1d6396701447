#!/usr/bin/env python3
"""pgweir, PgBouncer, HAProxy and a direct connection on the same work, side by side.

Starts a PostgreSQL of its own and ends it again. Everything at its full size writes benches/results.md; a smaller run
only prints, unless --output names a file.
"""
import argparse
import datetime
import os
import pathlib
import shlex
import signal
import subprocess
import sys

from lib import machine, postgres, poolers, report
from lib.measure import SECTIONS, Bench, Size, planned_seconds
from lib.progress import Progress
from lib.scratch import CannotRun, Scratch

BENCHES = pathlib.Path(__file__).resolve().parent
REPOSITORY = BENCHES.parent
TARGETS = ("pgweir", "pgbouncer", "haproxy", "direct")
# Above this many runnable processes something else is using the cores.
IDLE_LOAD = 0.7


def names_of(allowed):
    """An argument that names some of `allowed`, with commas between them."""
    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(allowed)}")
        return [name for name in allowed if name in names]
    return parse


def positive(text):
    """An argument that is a whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: a look, not a measurement")
    parser.add_argument("--rounds", type=positive, help="rounds of which the median is taken (3; quick: 1)")
    parser.add_argument("--secs", type=positive, help="seconds of each timed run (5; quick: 1)")
    parser.add_argument("--only", type=names_of(tuple(SECTIONS)), default=list(SECTIONS), metavar="SECTIONS", help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--targets", type=names_of(TARGETS), default=list(TARGETS), help=f"some of {','.join(TARGETS)}")
    parser.add_argument("--pgweir", type=pathlib.Path, default=REPOSITORY / "target/release/pgweir", help="the program (target/release/pgweir)")
    parser.add_argument("--output", type=pathlib.Path, help="where the report goes")
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


def commit():
    """The commit measured, with a note when the tree has changes (results.md does not count); unknown outside git."""
    def git(*words):
        return subprocess.run(["git", "-C", REPOSITORY, *words], capture_output=True, text=True)
    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode != 0:
        return "unknown"
    changed = git("status", "--porcelain", "--", ".", ":!benches/results.md").stdout.strip()
    return head.stdout.strip() + (" and uncommitted changes" if changed else "")


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
        if load > IDLE_LOAD:
            progress.note(f"the load is {load:.1f}: something else is running, and the figures will show it")
        bench = Bench(scratch, postgres.find_programs(), kinds, size, progress)
        for section in options.only:
            SECTIONS[section](bench)
        progress.finish()
        text = report.markdown(bench.results, [k.name for k in kinds], size, facts_of(bench, kinds, load))
    print(text)
    if output:
        output.write_text(text)
        progress.note(f"written to {os.path.relpath(output)}")
    else:
        progress.note("not written to a file (a part or a quick run); --output FILE does")


def main():
    # A terminated benchmark cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(arguments())
    except CannotRun as error:
        sys.exit(f"\nbenches/run.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\nbenches/run.py: interrupted")


if __name__ == "__main__":
    main()
