"""A directory and processes that exist only as long as the benchmark does.

PostgreSQL and PgBouncer refuse to run as root, so when the benchmark is run by root everything it starts runs as a
system user of its own; otherwise it runs as whoever started it.
"""
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

SYSTEM_USER = "pgweir_pg"
# A Unix socket's path has room for 107 bytes, so a long TMPDIR cannot hold PostgreSQL's.
LONGEST_TEMPDIR = 60


class CannotRun(Exception):
    """The benchmark cannot go on; the message is one line for the person who started it."""


def _system_user():
    """The unprivileged user's entry, made if it is missing."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        made = subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            capture_output=True, text=True)
        if made.returncode != 0:
            raise CannotRun(f"cannot make the system user {SYSTEM_USER}: {made.stderr.strip()}") from None
        return pwd.getpwnam(SYSTEM_USER)


def clean_environment(**more):
    """The environment without libpq's variables, which would point the tools elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return kept | {"LC_ALL": "C.UTF-8"} | more


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A started program; its output is in `log`."""

    def __init__(self, name, popen, log, stop_signal):
        self.name, self._popen, self.log, self._stop_signal = name, popen, log, stop_signal
        self.pid = popen.pid

    def has_ended(self):
        """Whether it has ended, by itself or by `stop`."""
        return self._popen.poll() is not None

    def log_tail(self, chars=1500):
        """The end of what it has printed."""
        return self.log.read_text(errors="replace")[-chars:].strip()

    def stop(self):
        """Ends it, by force if it has not gone after 20 seconds."""
        if not self.has_ended():
            self._popen.send_signal(self._stop_signal)
            try:
                self._popen.wait(20)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self._popen.wait()


class Scratch:
    """The directory, and every process started in it. A context manager: leaving it removes both."""

    def __init__(self):
        base = tempfile.gettempdir()
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="pgweir-bench-", dir=base if len(base) <= LONGEST_TEMPDIR else "/tmp"))
        self._processes = []
        self._credentials = {}
        if os.geteuid() == 0:
            user = _system_user()
            self._credentials = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._give(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            process.stop()
        shutil.rmtree(self.path, ignore_errors=True)

    def _give(self, path):
        """Hands `path` to the user that the started programs run as."""
        if self._credentials:
            os.chown(path, self._credentials["user"], self._credentials["group"])

    def directory(self, name):
        """A new directory that the started programs may write to."""
        path = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.path))
        self._give(path)
        return path

    def copy_program(self, program):
        """A copy of `program` that the system user may run; the original may lie in a home nobody else can enter."""
        copy = self.directory("program") / pathlib.Path(program).name
        shutil.copy(program, copy)
        copy.chmod(0o755)
        self._give(copy)
        return copy

    def write(self, path, text):
        """Writes a file that the started programs may read."""
        path.write_text(text)
        self._give(path)
        return path

    def run(self, command, cwd):
        """Runs a program to its end; `CannotRun` with its own last words if it fails."""
        done = subprocess.run([str(c) for c in command], cwd=cwd, env=clean_environment(), capture_output=True, text=True, **self._credentials)
        if done.returncode != 0:
            raise CannotRun(f"{pathlib.Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def start(self, name, command, cwd, stop_signal=signal.SIGTERM):
        """Starts a program that stays. It is kept out of the terminal's process group, so that Ctrl-C reaches only
        the benchmark, which then ends what it started in order."""
        log = cwd / "output.log"
        with open(log, "w") as out:
            popen = subprocess.Popen([str(c) for c in command], cwd=cwd, env=clean_environment(), stdin=subprocess.DEVNULL,
                                     stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **self._credentials)
        process = Process(name, popen, log, stop_signal)
        self._processes.append(process)
        return process
