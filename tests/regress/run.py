#!/usr/bin/env python3
"""PostgreSQL's own regression suite through pgweir.

Runs it first on PostgreSQL directly, which says what is to be expected on this machine, then through pgweir in front of
another new PostgreSQL, or with --split of a primary and its replica. Ends with 0 only if every test answers as it did
directly, and the replica was asked for nothing that only a primary does.
"""
import argparse
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benches"))

from lib.scratch import CannotRun, Scratch, clean_environment, free_port  # noqa: E402

import servers  # noqa: E402
import source  # noqa: E402
from servers import DATABASE, MAJOR, READ_ONLY_SQL_TRANSACTION, Installed, wait_for  # noqa: E402

RESULT = re.compile(r"^(?:test)?\s+(\S+)\s+\.\.\. (ok|FAILED)", re.MULTILINE)
# More than these fail directly only if something is wrong with the machine.
MOST_FAILING_DIRECTLY = 10
# How long a read may wait for the replica.
REPLICA_WAIT = "200ms"


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("session", "transaction"), default="transaction", help="pool_mode (transaction)")
    parser.add_argument("--pool", type=int, default=60, metavar="N", help="default_pool_size (60)")
    parser.add_argument("--split", action="store_true", help="reads by a replica (read_write_split)")
    parser.add_argument("--only", type=str.split, metavar="NAMES", help="these tests, one after another, behind test_setup")
    parser.add_argument("--pgweir", type=pathlib.Path, default=REPOSITORY / "target/release/pgweir", help="the program (target/release/pgweir)")
    parser.add_argument("--minutes", type=int, default=20, help="longest time for either run (20)")
    return parser.parse_args()


# How tests/pg_regress.toml says where the server is.
HOST = 'host = "127.0.0.1"\nport = {pg_port}\n'


def hosts(primary, replica):
    """The lines in the place of HOST that name both servers."""
    # A suite that writes all the time would hardly read from a replica if reads did not wait for it.
    return (f'hosts = ["127.0.0.1:{primary.port}", "127.0.0.1:{replica.port}"]\nread_write_split = true\n'
            f'read_your_writes = "all"\nreplica_wait = "{REPLICA_WAIT}"\n')


def start_pgweir(scratch, options, installed, primary, replica):
    """pgweir in front of the servers, of which the second may be None; its process and port."""
    home, port = scratch.directory("pgweir"), free_port()
    text = (REPOSITORY / "tests/pg_regress.toml").read_text()
    if replica:
        text = text.replace(HOST, hosts(primary, replica))
    text = text.replace("{port}", str(port)).replace("{pg_port}", str(primary.port))
    for name, value in (("pool_mode", f'"{options.mode}"'), ("default_pool_size", options.pool)):
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    configuration = scratch.write(home / "pooler.toml", text)
    pgweir = scratch.start("pgweir", [scratch.copy_program(options.pgweir), configuration], home)
    wait_for(pgweir, lambda: ask(installed, port, DATABASE, "select 1").returncode == 0)
    return pgweir, port


def ask(installed, port, database, statement):
    """psql with this statement, run to its end."""
    command = [installed.programs / "psql", "-qXAt", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-d", database, "-c", statement]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True)


def of_replica(replica, routes):
    """Says how much the replica did; whether it was asked for nothing that only a primary does. `routes` is what SHOW ROUTES
    printed."""
    print("\nwhere statements of clients that had no server went, by SHOW ROUTES:")
    for line in routes.splitlines():
        _, to, reason, count = line.split("|")
        if count != "0":
            print(f"  {to:<8} {reason:<24} {count:>8}")
    refused = replica.errors(READ_ONLY_SQL_TRANSACTION)
    print(f"{len(refused)} statements were refused by the replica as writing")
    for line in refused[:20]:
        print(f"  {line}")
    return not refused


def pg_regress(scratch, options, installed, suite, port, title):
    """Runs the suite at `port`; the verdict of each test by its name, and the directory of what it wrote."""
    print(f"\n== {title}", flush=True)
    output = scratch.directory("output")
    tests = ["test_setup", *(t for t in options.only if t != "test_setup")] if options.only else [f"--schedule={suite}/parallel_schedule"]
    process = scratch.start("pg_regress", [
        installed.pg_regress, f"--inputdir={suite}", f"--outputdir={output}", f"--dlpath={suite}", f"--bindir={installed.programs}",
        "--host=127.0.0.1", f"--port={port}", "--user=postgres", f"--dbname={DATABASE}", "--use-existing", *tests], output)
    deadline, shown = time.monotonic() + 60 * options.minutes, 0
    while True:
        ended = process.has_ended()
        text = process.log.read_text(errors="replace")
        print(text[shown:], end="", flush=True)
        shown = len(text)
        if ended:
            break
        if time.monotonic() > deadline:
            process.stop()
            print(f"\nended after {options.minutes} minutes")
            break
        time.sleep(0.2)
    return dict(RESULT.findall(text)), output


def expected_tests(options, suite):
    """The names of all tests that are to be run."""
    if options.only:
        return {"test_setup", *options.only}
    lines = (suite / "parallel_schedule").read_text().splitlines()
    return {name for line in lines if line.startswith("test:") for name in line.removeprefix("test:").split()}


def run(options):
    """Runs both; returns whether every test passed."""
    if not options.pgweir.exists():
        raise CannotRun(f"{options.pgweir} is not there: make build builds it, --pgweir names another")
    installed = Installed()
    tree = source.fetch(MAJOR)
    with Scratch() as scratch:
        # A copy, because PostgreSQL's user must read it, and what is expected may be amended.
        suite = scratch.directory("suite")
        shutil.copytree(tree / "src/test/regress", suite, dirs_exist_ok=True)
        source.build(tree, installed.includes, installed.libraries, suite)
        tests = expected_tests(options, suite)

        postgres = servers.start(scratch, installed)
        direct, output = pg_regress(scratch, options, installed, suite, postgres.port, "directly")
        postgres.stop()
        differing = sorted(t for t in tests if direct.get(t) != "ok")
        if len(differing) > MOST_FAILING_DIRECTLY:
            raise CannotRun(f"{len(differing)} tests fail without a pooler: {' '.join(differing)}")
        for test in differing:
            answer = output / f"results/{test}.out"
            if not answer.exists():
                raise CannotRun(f"there is no test {test}, or it did not end")
            shutil.copy(answer, suite / "expected")

        primary = servers.start(scratch, installed)
        replica = servers.start_replica(scratch, installed, primary) if options.split else None
        pgweir, port = start_pgweir(scratch, options, installed, primary, replica)
        title = f"through pgweir, {options.mode} mode, pool of {options.pool}{', reads by a replica' if replica else ''}"
        verdicts, output = pg_regress(scratch, options, installed, suite, port, title)
        is_obedient = not replica or of_replica(replica, ask(installed, port, "pgweir", "show routes").stdout)
        failing = sorted(t for t in tests if verdicts.get(t) != "ok")
        if differing:
            print(f"\nOn this machine these answer otherwise than PostgreSQL's authors expect, so as directly here is right: {' '.join(differing)}")
        print(f"\n{len(tests) - len(failing)} of {len(tests)} tests pass")
        if failing:
            kept = REPOSITORY / "target/regress"
            kept.mkdir(parents=True, exist_ok=True)
            for file in (output / "regression.diffs", pgweir.log):
                if file.exists():
                    shutil.copy(file, kept / ("pgweir.log" if file == pgweir.log else file.name))
            print(f"failing: {' '.join(failing)}\nwhat differs: target/regress/regression.diffs; pgweir's log is beside it")
        return not failing and is_obedient


def main():
    # A terminated run cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(0 if run(arguments()) else 1)
    except CannotRun as error:
        sys.exit(f"cannot run: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
