"""What the programs of this directory have in common as commands: arguments, where reports go, how they end."""
import argparse
import os
import pathlib
import signal
import subprocess
import sys

from .scratch import CannotRun

BENCHES = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = BENCHES.parent
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


def add_common(parser):
    """The arguments that every program has."""
    parser.add_argument("--quick", action="store_true", help="one short round: a look, not a measurement")
    parser.add_argument("--pgweir", type=pathlib.Path, default=REPOSITORY / "target/release/pgweir", help="the program (target/release/pgweir)")
    parser.add_argument("--output", type=pathlib.Path, help="where the report goes")


def note_load(load, progress):
    """Says so if the machine is not idle."""
    if load > IDLE_LOAD:
        progress.note(f"the load is {load:.1f}: something else is running, and the figures will show it")


def conclude(text, output, progress):
    """Prints the report, and writes it if there is a file for it."""
    print(text)
    if output:
        output.write_text(text)
        progress.note(f"written to {os.path.relpath(output)}")
    else:
        progress.note("not written to a file (a part or a quick run); --output FILE does")


def commit():
    """The commit measured, with a note when the tree has changes (results.md does not count); unknown outside git."""
    def git(*words):
        return subprocess.run(["git", "-C", REPOSITORY, *words], capture_output=True, text=True)
    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode != 0:
        return "unknown"
    changed = git("status", "--porcelain", "--", ".", ":!benches/results.md").stdout.strip()
    return head.stdout.strip() + (" and uncommitted changes" if changed else "")


def main(run, arguments):
    """Runs `run` with what `arguments` has read, as a program: what it cannot do and an interruption end it in one line."""
    program = os.path.relpath(sys.argv[0], REPOSITORY)
    # A terminated benchmark cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(arguments())
    except CannotRun as error:
        sys.exit(f"\n{program}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"\n{program}: interrupted")
