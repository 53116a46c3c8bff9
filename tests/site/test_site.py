"""The test site itself: what it promises to the machine it runs on, and to whoever reads its failures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site import daemons, host, recipe
from tests.site.slurm import until

RUN = [sys.executable, "-m", "tests.site", "run", "--"]
# Prints the site's mount namespace, leaves a stray, and stays.
STAY = "readlink /proc/self/ns/mnt; setsid sleep 1000 & exec sleep 1000"


def start(*command: str) -> subprocess.Popen[str]:
    # A run that a shell started in the background is deaf to SIGINT, and so is all that it starts.
    hearing = ["env", "--default-signal=INT", *RUN, *command]
    return subprocess.Popen(hearing, cwd=recipe.CHECKOUT, stdout=subprocess.PIPE, text=True)


def members(namespace: str) -> list[int]:
    """The machine's processes in a mount namespace, such as `mnt:[4026532177]`."""
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/mnt"):
        try:
            if os.readlink(link) == namespace:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


def mentioning(word: str) -> list[int]:
    """The machine's processes with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parts[2]))
        except OSError:
            continue
    return found


def traces() -> tuple[str, list[str], set[Path]]:
    """What a site might leave on the machine besides processes: users, mounts, Slurm's cgroups."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(recipe.cache_directory()) in line]
    return Path("/etc/passwd").read_text(), mounts, set(Path("/sys/fs/cgroup").glob("*/slurm*"))


@pytest.mark.usefixtures("site_root")
@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("kill -KILL $$", 137)])
def test_a_command_s_exit_code_is_the_site_s_and_nothing_stays(command: str, code: int) -> None:
    before = traces()
    site = start("sh", "-c", f"readlink /proc/self/ns/mnt; setsid sleep 1000 & {command}")
    assert site.stdout is not None
    namespace = site.stdout.readline().strip()
    assert namespace.startswith("mnt:[")
    assert site.wait(60) == code
    until("every process of the site to end", lambda: not members(namespace))
    assert traces() == before


@pytest.mark.usefixtures("site_root")
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ending_the_runner_ends_the_whole_site(blow: signal.Signals) -> None:
    before = traces()
    site = start("sh", "-c", STAY)
    assert site.stdout is not None
    namespace = site.stdout.readline().strip()
    assert len(members(namespace)) > 10
    site.send_signal(blow)
    assert site.wait(60) in (128 + blow, -blow)
    until("every process of the site to end", lambda: not members(namespace))
    assert traces() == before


@pytest.mark.usefixtures("site_root")
def test_ctrl_c_leaves_the_command_its_last_words() -> None:
    script = "trap 'echo last words; exit 1' INT; readlink /proc/self/ns/mnt; while :; do sleep 0.1; done"
    command = ["env", "--default-signal=INT", *RUN, "sh", "-c", script]
    site = subprocess.Popen(command, cwd=recipe.CHECKOUT, stdout=subprocess.PIPE, text=True, process_group=0)
    assert site.stdout is not None
    namespace = site.stdout.readline().strip()
    # What a terminal does: the signal goes to everyone in the foreground.
    os.killpg(site.pid, signal.SIGINT)
    assert site.communicate(timeout=60)[0] == "last words\n"
    assert site.returncode == 128 + signal.SIGINT
    until("every process of the site to end", lambda: not members(namespace))


@pytest.mark.usefixtures("site_root")
def test_two_sites_side_by_side_do_not_meet() -> None:
    script = "sbatch --parsable -D /tmp --wrap true; cat; squeue --noheader --state all | wc -l"
    sites = [
        subprocess.Popen(
            [*RUN, "sh", "-c", script], cwd=recipe.CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    # Each waits with its own job in its own queue until both are there.
    for site in sites:
        assert site.stdout is not None
        assert site.stdout.readline() == "1\n"
    assert [site.communicate(timeout=60)[0] for site in sites] == ["1\n", "1\n"]
    assert [site.returncode for site in sites] == [0, 0]


@pytest.mark.usefixtures("site_root")
def test_checkout_kernel_switches_and_clock_cannot_be_changed_from_inside() -> None:
    paths = "/src/README.md /proc/sys/kernel/hostname /sys/kernel/profiling"
    script = f"for path in {paths}; do (exec 3>>$path) 2>&1 | grep -c 'Read-only file system'; done"
    script += "; date --set=@$(date +%s.%N) 2>&1 | grep -c 'not permitted'"  # to what it is, should it succeed
    done = subprocess.run(
        [*RUN, "sh", "-c", script], cwd=recipe.CHECKOUT, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == "1\n1\n1\n1\n"


@pytest.mark.usefixtures("site_root")
def test_an_interrupted_build_leaves_no_root_and_no_mount(tmp_path: Path) -> None:
    environment = os.environ | {"GRIDWARDEN_SITE_CACHE": str(tmp_path / "cache")}
    build = subprocess.Popen(
        [sys.executable, "-m", "tests.site", "build"], cwd=recipe.CHECKOUT, env=environment, stderr=subprocess.PIPE
    )
    until("the build to begin", lambda: list(tmp_path.glob("cache/building-trixie-*/debootstrap")))
    build.kill()
    build.wait()
    until("the build's processes to end", lambda: not mentioning(str(tmp_path)))
    assert not any(path.is_dir() for path in tmp_path.glob("cache/root-*"))
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    shutil.rmtree(tmp_path)


def test_what_is_missing_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("GRIDWARDEN_SITE_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "debootstrap: on Debian or Ubuntu, apt-get install debootstrap" in host.lacks()
    assert "unshare: on Debian or Ubuntu, apt-get install util-linux" in host.lacks()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root: namespaces and mounts need it; run the same command with sudo" in host.lacks()
    assert "sudo" in (host.why_no_site() or "")


def test_a_daemon_that_fails_shows_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "LOGS", tmp_path)
    log = tmp_path / "own.log"
    command = ("sh", "-c", f"echo 'cannot bind' > {log}; echo 'giving up' >&2; exit 3")
    running = daemons.start(daemons.Daemon("faultyd", command, log, ready=lambda: False))
    said: list[str] = []
    with pytest.raises(daemons.DaemonError) as failure:
        daemons.wait_ready(running, said.append)
    assert said == ["waiting for faultyd"]
    for part in ("faultyd ended with status 3", "cannot bind", "giving up"):
        assert part in str(failure.value)
