"""What control groups and affinity allow: the texts that kernels write, and this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swarmharness.allowance import cpu_quota, memory_limit, usable_cores, usable_memory_bytes

V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
V1 = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "37 31 0:34 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
)
CONTAINER_V1 = V1.replace("0:29 / /sys", "0:29 /docker/abc /sys").replace("0:34 / /sys", "0:34 /docker/abc /sys")


class Files(dict[str, str]):
    def read(self, path: Path) -> str:
        if str(path) not in self:
            raise FileNotFoundError(2, "No such file", str(path))
        return self[str(path)]


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        ("0::/user.slice/a\n", V2, {"/sys/fs/cgroup/user.slice/a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/user.slice/a\n", V2, {"/sys/fs/cgroup/user.slice/a/cpu.max": "max 100000\n"}, None),
        (
            "0::/user.slice/a\n",  # the group above it is the narrower one
            V2,
            {
                "/sys/fs/cgroup/user.slice/a/cpu.max": "400000 100000",
                "/sys/fs/cgroup/user.slice/cpu.max": "50000 100000",
            },
            0.5,
        ),
        ("0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),  # a container with a cgroup namespace
        ("0::/../../other\n", V2, {"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
        (
            "1:cpu,cpuacct:/batch\n0::/\n",
            V1,
            {
                "/sys/fs/cgroup/cpu,cpuacct/batch/cpu.cfs_quota_us": "300000\n",
                "/sys/fs/cgroup/cpu,cpuacct/batch/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            "4:cpu,cpuacct:/docker/abc\n",  # a container without one: its own group is the root of the mount
            CONTAINER_V1,
            {
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            "1:cpu,cpuacct:/\n",
            V1,
            {
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ("0::/a\n", V2, {"/sys/fs/cgroup/a/cpu.max": "nonsense\n"}, None),
        ("", "", {}, None),
        ("nonsense", "nonsense - \n", {}, None),
    ],
)
def test_the_quota_of_the_narrowest_group_counts(
    groups: str, mounts: str, files: dict[str, str], expected: float | None
) -> None:
    assert cpu_quota(groups, mounts, Files(files).read) == expected


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        ("0::/a\n", V2, {"/sys/fs/cgroup/a/memory.max": "536870912\n"}, 536870912),
        ("0::/a\n", V2, {"/sys/fs/cgroup/a/memory.max": "max\n"}, None),
        (
            "4:memory:/docker/abc\n",
            CONTAINER_V1,
            {"/sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n"},
            1073741824,
        ),
    ],
)
def test_so_does_the_narrowest_limit_of_memory(
    groups: str, mounts: str, files: dict[str, str], expected: int | None
) -> None:
    assert memory_limit(groups, mounts, Files(files).read) == expected


def test_this_machine_allows_something() -> None:
    assert 1 <= usable_cores(physical=True) <= usable_cores() <= (os.cpu_count() or 1)
    assert 0 < usable_memory_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_is_read_anew_each_time() -> None:
    program = (
        "import os; from swarmharness.allowance import usable_cores\n"
        "before = usable_cores(); os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "print(before, usable_cores(), usable_cores(physical=True))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(usable_cores()), "1", "1"]
