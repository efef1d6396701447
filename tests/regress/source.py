"""PostgreSQL's source package, fetched once from where apt gets PostgreSQL, and what of it is compiled."""
import os
import pathlib
import re
import shutil
import subprocess

from lib.scratch import CannotRun

# Debian's packages are signed with these; elsewhere apt's own trusted keys decide.
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What the suite loads beside its own library, as it is installed: the source may be older than the server.
INSTALLED = ("autoinc.so", "refint.so")


def cache():
    """Where the source is kept from one run to the next."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "pgweir"


def _call(command, cwd=None):
    try:
        done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    except FileNotFoundError:
        raise CannotRun(f"{command[0]} is missing: .ci/install regress installs it") from None
    if done.returncode != 0:
        raise CannotRun(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def _origins(package):
    """`(URI, suite, component)` of every archive in which apt finds the package."""
    found = []
    for line in _call(["apt-cache", "madison", package]).splitlines():
        match = re.search(r"\|\s*(\S+) (\S+)/(\S+) \S+ Packages$", line)
        if match and match.groups() not in found:
            found.append(match.groups())
    if not found:
        raise CannotRun(f"apt knows no archive with {package}: apt-get update, then try again")
    return found


def fetch(major):
    """The directory of PostgreSQL's source. apt checks its signature; its lists are kept apart from the system's, so
    neither root's rights nor a change of the system's sources are needed."""
    home, package = cache(), f"postgresql-{major}"
    tree = home / package
    if (tree / "src/test/regress/parallel_schedule").exists():
        return tree
    home.mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    for uri, suite, component in _origins(package):
        # One archive at a time: one may list what another has no files of.
        state = home / "apt"
        shutil.rmtree(state, ignore_errors=True)
        for directory in ("lists/partial", "cache/archives/partial"):
            (state / directory).mkdir(parents=True)
        (state / "sources.list").write_text(f"deb-src {signed}{uri} {suite} {component}\n")
        apt = ["apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={state}/sources.list", "-o", "Dir::Etc::sourceparts=-",
               "-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::Cache={state}/cache", "-o", "APT::Sandbox::User="]
        try:
            _call([*apt, "update"])
            _call([*apt, "source", "--download-only", "--only-source", package], cwd=home)
            break
        except CannotRun as error:
            reason = error
        finally:
            shutil.rmtree(state, ignore_errors=True)
    else:
        raise reason
    [*_, description] = sorted(home.glob(f"{package}_*.dsc"))
    shutil.rmtree(tree, ignore_errors=True)
    _call(["dpkg-source", "--skip-patches", "-x", description.name, tree.name], cwd=home)
    return tree


def build(tree, includes, installed, target):
    """Puts the libraries of the suite into the directory `target`; `installed` is where the server has its own."""
    source = tree / "src/test/regress/regress.c"
    _call(["gcc", "-O1", "-fPIC", "-shared", "-I", includes, "-o", target / "regress.so", source])
    for library in INSTALLED:
        shutil.copy(installed / library, target)
