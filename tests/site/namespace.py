"""The site's own world: namespaces, an overlay on the cached root, and nothing of the machine below.

Everything hangs on the first process of a pid namespace. When that process ends, however it ends, the kernel
kills the rest and drops the mounts with the last of them.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

from tests.site import host, recipe

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "GRIDWARDEN_IN_SITE": "1",
    # The checkout is read-only.
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTEST_ADDOPTS": "-p no:cacheprovider",
    "HYPOTHESIS_STORAGE_DIRECTORY": "/var/tmp/hypothesis",  # the site's own
}
PASSED_ON = ("CI", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")


def command(suite: str, root: Path, words: list[str]) -> list[str]:
    """The command line that runs WORDS in a new site on ROOT; it dies with the caller, and the site with it."""
    enter = [sys.executable, "-m", "tests.site.namespace", suite, str(root), *words]
    return [*host.unshared("mount", "pid", "net", "ipc", "uts"), *enter]


def enter(suite: str, root: Path, words: list[str]) -> None:
    """Become the first process of the site, in its own root. Does not return."""
    os.umask(0o022)
    new_root = _overlay(root)
    for name in ("root", f"root-{suite}"):
        if (files := Path(__file__).with_name(name)).is_dir():
            shutil.copytree(files, new_root, dirs_exist_ok=True, copy_function=shutil.copyfile)
    _mount("--bind", str(recipe.CHECKOUT), str(new_root / "src"))
    _mount("-o", "remount,bind,ro", str(new_root / "src"))
    _kernel_file_systems(new_root)
    _devices(new_root / "dev")
    for name, mode in (("run", "0755"), ("tmp", "1777")):
        _mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", str(new_root / name))
    socket.sethostname("site")
    os.chdir(new_root)
    Path("old").mkdir()
    subprocess.run(["pivot_root", ".", "old"], check=True)
    os.chroot(".")
    os.chdir("/src")
    subprocess.run(["/bin/umount", "--lazy", "/old"], check=True, env=ENVIRONMENT)
    Path("/old").rmdir()
    environment = ENVIRONMENT | {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment["GRIDWARDEN_SITE_SUITE"] = suite
    # Clock and kernel are the machine's own: no namespace keeps a test's hands off them.
    less = ["setpriv", "--bounding-set=-sys_time,-sys_boot,-sys_module", "python3", "-m", "tests.site.init"]
    inside = [*less, "python3", "-m", "tests.site.up", *words]
    os.execve("/usr/bin/setpriv", inside, environment)  # noqa: S606  # no shell is the point


def _overlay(root: Path) -> Path:
    tmpfs = root.parent / "mount"
    _mount("-t", "tmpfs", "-o", "mode=0700", "tmpfs", str(tmpfs))
    for name in ("upper", "work", "root"):
        (tmpfs / name).mkdir()
    layers = f"lowerdir={root},upperdir={tmpfs}/upper,workdir={tmpfs}/work"
    _mount("-t", "overlay", "-o", layers, "overlay", str(tmpfs / "root"))
    return tmpfs / "root"


def _kernel_file_systems(new_root: Path) -> None:
    """The namespaces' own /proc and /sys, their switches read-only: no cgroup of the machine is in reach."""
    _mount("-t", "proc", "proc", str(new_root / "proc"))
    switches = str(new_root / "proc/sys")
    _mount("--bind", switches, switches)
    _mount("-o", "remount,bind,ro", switches)
    _mount("-t", "sysfs", "-o", "ro", "sysfs", str(new_root / "sys"))


def _devices(dev: Path) -> None:
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(dev))
    for name, number in DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(*number))
        (dev / name).chmod(0o666)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620,gid=5", "devpts", str(dev / "pts"))
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(dev / "shm"))
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"fd/{number}")


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    enter(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
