"""What the kernel says of a process (CPU, memory) and of the machine, and the limit on open files."""
import os
import pathlib
import platform
import re
import resource

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
WANTED_OPEN_FILES = 20000


def family(pid):
    """The process and all its descendants; those that end meanwhile are left out."""
    found = [pid]
    for listed in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = listed.read_text().split()
        except OSError:
            continue
        for child in children:
            found += family(int(child))
    return found


def cpu_seconds(pid):
    """CPU seconds, user and system, used so far by the process, its threads and its descendants."""
    ticks = 0
    for member in family(pid):
        # The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
        fields = pathlib.Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def _status_bytes(pid, field):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M).group(1)) * 1024


def resident_bytes(pid):
    """Resident memory of the process and its descendants."""
    return sum(_status_bytes(member, "VmRSS") for member in family(pid))


def peak_resident_bytes(pid):
    """The most resident memory the process ever had (one process, not its descendants)."""
    return _status_bytes(pid, "VmHWM")


def proportional_bytes(pid):
    """Memory of the process and its descendants, pages shared between them counted once (PSS)."""
    total = 0
    for member in family(pid):
        try:
            text = pathlib.Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", text, re.M)
        total += int(found.group(1)) * 1024 if found else 0
    return total


def raise_open_files(wanted=WANTED_OPEN_FILES):
    """Raises the limit on open files, inherited by everything started later; returns the limit reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
                return wanted
            except (ValueError, OSError):
                wanted = hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft if soft != resource.RLIM_INFINITY else wanted


def cores():
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def description():
    """Rows (what, value) that say which machine it was."""
    model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.M)
    return [("cores", str(cores())),
            ("CPU", model.group(1).strip() if model else platform.machine()),
            ("memory", f"{int(memory.group(1)) / 2**20:.1f} GiB"),
            ("kernel", platform.release())]


def load_average():
    """Runnable processes over the last minute."""
    return os.getloadavg()[0]
