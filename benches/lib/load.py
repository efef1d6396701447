"""Work sent to a target with PostgreSQL's own tools: pgbench's select-only script or another, and COPY by psql."""
import collections
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .postgres import DATABASE, HOST, USER, client_environment

COPY_ROW_BYTES = 1000
# Reading the memory of a thousand busy processes takes seconds, and they must still be there.
BEFORE_END_SECONDS = 6


@dataclass(frozen=True)
class Run:
    """One pgbench run. Latencies are in milliseconds; `connecting_seconds` is what it took until all clients were
    connected, before anything was timed; `failure` is its complaint, or ''."""
    transactions: int
    tps: float
    p50: float
    p95: float
    p99: float
    connecting_seconds: float
    failure: str


def percentile(ordered, share):
    """The value below which `share` (0 to 1) of the ordered values lie; NaN when there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def transaction_times(lines):
    """pgbench's own transaction times in ms, ordered. They leave out what it takes to connect."""
    return sorted(int(line.split()[2]) / 1000 for line in lines)


def request_times(lines, started):
    """Times in ms from one completion of a client to its next, ordered: with a connection per transaction this is
    connecting, waiting and the query. `started` (Unix seconds) is where each client's first one begins."""
    completions = collections.defaultdict(list)
    for line in lines:
        fields = line.split()
        completions[fields[0]].append(int(fields[4]) + int(fields[5]) / 1e6)
    times = []
    for of_client in completions.values():
        before = started
        for at in sorted(of_client):
            times.append((at - before) * 1000)
            before = at
    return sorted(times)


def _complaint(done_code, stderr):
    if done_code == 0:
        return ""
    lines = [line for line in stderr.strip().splitlines() if line]
    aborted = sum(" aborted" in line or "connection to server" in line for line in lines)
    first = next((line for line in lines if "rror" in line or "FATAL" in line), lines[-1] if lines else f"exit code {done_code}")
    return f"{aborted} × {first[:160]}" if aborted > 1 else first[:160]


def pgbench(postgres, target, protocol, clients, seconds, threads=1, reconnect=False, before_end=None, script=None, variables=None):
    """Runs `pgbench -S` against `target`, or `script` (a path) with its `variables`. `reconnect` makes a new connection for every transaction, and the latencies
    then cover connecting too. Otherwise connecting happens first and within `seconds`, but outside the figures.
    `before_end` is called once, `BEFORE_END_SECONDS` before the clients stop."""
    logs = Path(tempfile.mkdtemp(prefix="pgweir-bench-log-"))
    command = [postgres.programs / "pgbench", "-n", *(["-f", script] if script else ["-S"]), "-h", HOST, "-p", str(target.port), "-U", USER, "-M", protocol,
               "-c", str(clients), "-j", str(threads), "-T", str(seconds), "-l", f"--log-prefix={logs}/log"]
    command += ["-C"] if reconnect else []
    for name, value in (variables or {}).items():
        command += ["-D", f"{name}={value}"]
    try:
        started = time.time()
        running = subprocess.Popen(command + [DATABASE], env=client_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            if before_end:
                time.sleep(seconds - BEFORE_END_SECONDS)
                before_end()
            out, err = running.communicate()
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()
        lines = [line for log in logs.iterdir() for line in log.read_text().splitlines()]
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    times = request_times(lines, started) if reconnect else transaction_times(lines)
    counted = re.search(r"number of transactions actually processed: (\d+)", out)
    tps = re.search(r"^tps = ([\d.]+)", out, re.M)
    connecting = re.search(r"^initial connection time = ([\d.]+) ms", out, re.M)
    return Run(int(counted.group(1)) if counted else 0, float(tps.group(1)) if tps else 0.0,
               percentile(times, 0.5), percentile(times, 0.95), percentile(times, 0.99),
               float(connecting.group(1)) / 1000 if connecting else 0.0, _complaint(running.returncode, err))


def copy_out(postgres, target, rows):
    """Copies `rows` rows of COPY_ROW_BYTES out through `target`; returns (bytes received, seconds)."""
    query = f"copy (select repeat('x', {COPY_ROW_BYTES}) from generate_series(1, {rows})) to stdout"
    started = time.monotonic()
    psql = subprocess.Popen([postgres.programs / "psql", "-qX", "-h", HOST, "-p", str(target.port), "-U", USER, "-d", DATABASE, "-c", query],
                            env=client_environment(), stdout=subprocess.PIPE)
    with psql:
        counted = subprocess.run(["wc", "-c"], stdin=psql.stdout, capture_output=True, text=True)
    return int(counted.stdout), time.monotonic() - started


def ask(postgres, target, database, statement):
    """What psql prints of a statement that goes to `target` as bench; its complaint if it fails."""
    done = subprocess.run([postgres.programs / "psql", "-qXAt", "-h", HOST, "-p", str(target.port), "-U", USER, "-d", database, "-c", statement],
                          env=client_environment(), capture_output=True, text=True)
    return (done.stdout if done.returncode == 0 else done.stderr).strip()


def median_of(values):
    """The median, NaN for no values."""
    return statistics.median(values) if values else float("nan")
