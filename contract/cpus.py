"""How many CPUs this process may use: what every pool of threads here is sized by."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """The CPUs of this process's affinity mask, or fewer where a cgroup (a container) grants less time; at least 1.

    A quota of 2.5 CPUs counts as 3: threads that wait now and then are cheaper than a CPU that idles. `cgroup` is where
    a container sees its own cgroup mounted.
    """
    cpus = len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota_v2(cgroup: Path) -> float | None:
    """`cpu.max` is "<quota or max> <period>", in microseconds (kernel documentation, cgroup-v2, "CPU")."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(cgroup: Path) -> float | None:
    """A quota of -1 is none (kernel documentation, cgroup-v1 and sched-bwc, "Management")."""
    try:
        quota, period = (int((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
