"""How many CPUs this process may use: what every pool of threads here is sized by."""

import math
import os
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cpus(cgroup_quota: Path = _CGROUP_QUOTA) -> int:
    """The CPUs of this process's affinity mask, or fewer where a cgroup (a container) grants less time; at least 1.

    A quota of 2.5 CPUs counts as 3: threads that wait now and then are cheaper than a CPU that idles. The quota is
    cgroup v2's `cpu.max` ("<quota or max> <period>", in microseconds; kernel documentation, cgroup-v2, "CPU").
    """
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup_quota.read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, math.ceil(int(quota) / int(period))))
