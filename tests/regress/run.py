#!/usr/bin/env python3
"""PostgreSQL's own regression suite through pgweir.

Runs it first on PostgreSQL directly, which says what is to be expected on this machine, then through pgweir in front of
another new PostgreSQL. Ends with 0 only if every test answers as it did directly.
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

import source  # noqa: E402

MAJOR = 15
DATABASE = "regression"
# What pg_regress itself sets on a database that it makes.
DATABASE_SETTINGS = {"lc_messages": "C", "lc_monetary": "C", "lc_numeric": "C", "lc_time": "C", "bytea_output": "hex",
                     "timezone_abbreviations": "Default"}
RESULT = re.compile(r"^(?:test)?\s+(\S+)\s+\.\.\. (ok|FAILED)", re.MULTILINE)
# More than these fail directly only if something is wrong with the machine.
MOST_FAILING_DIRECTLY = 10


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("session", "transaction"), default="transaction", help="pool_mode (transaction)")
    parser.add_argument("--pool", type=int, default=60, metavar="N", help="default_pool_size (60)")
    parser.add_argument("--only", type=str.split, metavar="NAMES", help="these tests, one after another, behind test_setup")
    parser.add_argument("--pgweir", type=pathlib.Path, default=REPOSITORY / "target/release/pgweir", help="the program (target/release/pgweir)")
    parser.add_argument("--minutes", type=int, default=20, help="longest time for either run (20)")
    return parser.parse_args()


class Installed:
    """Debian's PostgreSQL with its headers and pg_regress."""

    def __init__(self):
        self.programs = pathlib.Path(f"/usr/lib/postgresql/{MAJOR}/bin")
        pgxs = self.programs.parent / "lib/pgxs"
        self.pg_regress = pgxs / "src/test/regress/pg_regress"
        if not self.pg_regress.exists() or not (self.programs / "initdb").exists():
            raise CannotRun(f"PostgreSQL {MAJOR} is not there with its development files: .ci/install regress installs them")
        asked = subprocess.run([self.programs / "pg_config", "--includedir-server", "--pkglibdir"], capture_output=True, text=True, check=True)
        self.includes, libraries = asked.stdout.split()
        self.libraries = pathlib.Path(libraries)


def wait_for(process, is_ready, seconds=60):
    """Waits until `is_ready`; `CannotRun` if the process ends before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not process.has_ended():
        if is_ready():
            return
        time.sleep(0.1)
    raise CannotRun(f"{process.name} did not start: {process.log_tail()}")


def start_postgres(scratch, installed):
    """A new PostgreSQL with an empty database for the suite; its process and port."""
    home, port = scratch.directory("postgres"), free_port()
    data, programs = home / "data", installed.programs
    scratch.run([programs / "initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust", "-U", "postgres", "-D", data], home)
    with open(data / "postgresql.conf", "a") as conf:
        conf.write(f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{home}'\nfsync = off\n")
    postgres = scratch.start("PostgreSQL", [programs / "postgres", "-D", data], home, signal.SIGINT)
    address = ["-h", "127.0.0.1", "-p", str(port)]
    wait_for(postgres, lambda: subprocess.run([programs / "pg_isready", "-q", *address], env=clean_environment()).returncode == 0)
    statements = [f"create database {DATABASE} template template0"]
    statements += [f"alter database {DATABASE} set {name} to '{value}'" for name, value in DATABASE_SETTINGS.items()]
    for statement in statements:
        scratch.run([programs / "psql", "-qX", *address, "-U", "postgres", "-d", "postgres", "-c", statement], home)
    return postgres, port


def start_pgweir(scratch, options, installed, pg_port):
    """pgweir in front of the PostgreSQL on `pg_port`; its process and port."""
    home, port = scratch.directory("pgweir"), free_port()
    text = (REPOSITORY / "tests/pg_regress.toml").read_text()
    text = text.replace("{port}", str(port)).replace("{pg_port}", str(pg_port))
    for name, value in (("pool_mode", f'"{options.mode}"'), ("default_pool_size", options.pool)):
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    configuration = scratch.write(home / "pooler.toml", text)
    pgweir = scratch.start("pgweir", [scratch.copy_program(options.pgweir), configuration], home)
    ask = [installed.programs / "psql", "-qXAt", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-d", DATABASE, "-c", "select 1"]
    wait_for(pgweir, lambda: subprocess.run(ask, env=clean_environment(), capture_output=True).returncode == 0)
    return pgweir, port


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

        postgres, port = start_postgres(scratch, installed)
        direct, output = pg_regress(scratch, options, installed, suite, port, "directly")
        postgres.stop()
        differing = sorted(t for t in tests if direct.get(t) != "ok")
        if len(differing) > MOST_FAILING_DIRECTLY:
            raise CannotRun(f"{len(differing)} tests fail without a pooler: {' '.join(differing)}")
        for test in differing:
            answer = output / f"results/{test}.out"
            if not answer.exists():
                raise CannotRun(f"there is no test {test}, or it did not end")
            shutil.copy(answer, suite / "expected")

        _, pg_port = start_postgres(scratch, installed)
        pgweir, port = start_pgweir(scratch, options, installed, pg_port)
        verdicts, output = pg_regress(scratch, options, installed, suite, port, f"through pgweir, {options.mode} mode, pool of {options.pool}")
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
        return not failing


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
