"""Builds a cached root: debootstrap, packages, accounts, and a venv with gridwarden's dependencies.

The work happens in a temporary directory inside a private mount namespace: an interrupted build leaves no
mount behind and never counts as a root.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.site import host, recipe

CLEAN_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
}
# Newest first: pip takes the first that a wheel carries. bookworm has glibc 2.36, trixie 2.41.
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")


def build(suite: recipe.Suite) -> Path:
    """The root that the recipe asks for, built if it is not there yet. Raises SiteError."""
    root, held = hold(suite)
    os.close(held)
    return root


def hold(suite: recipe.Suite) -> tuple[Path, int]:
    """The same, and a descriptor that keeps other builds from removing the root while it is open anywhere."""
    root = recipe.root_directory(suite)
    missing = host.lacks(suite)
    if missing:
        raise host.SiteError("there can be no site here; missing are " + "; ".join(missing))
    cache = recipe.cache_directory()
    # The root holds setuid programs that get no updates: nobody but root may reach them.
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    (cache / "mount").mkdir(exist_ok=True)
    held = host.lock(root.with_suffix(".lock"), exclusive=False)
    if not root.is_dir():
        building = host.lock(cache / f"build-{suite.name}.lock", exclusive=True)
        try:
            if not root.is_dir():
                _build_into(root, cache, suite)
        finally:
            os.close(building)
    return root, held


def _build_into(root: Path, cache: Path, suite: recipe.Suite) -> None:
    started = time.monotonic()
    _remove_others(cache, suite)
    work = cache / f"building-{suite.name}-{os.getpid()}"
    log = cache / f"build-{suite.name}.log"
    command = [*host.unshared("mount", "pid"), sys.executable, "-m", "tests.site.build", suite.name, str(work)]
    with log.open("wb") as output:
        status = subprocess.run(command, cwd=recipe.CHECKOUT, stdout=output, check=False).returncode
    if status != 0:
        tail = "".join(f"    {line}\n" for line in log.read_text(errors="replace").splitlines()[-15:])
        needs = "it takes a network with Debian's and Python's packages"
        message = f"building the site's root of {suite.name} failed (exit {status}; {needs}); the end of {log}:\n{tail}"
        raise host.SiteError(message)
    work.rename(root)
    _say(f"{suite.name}'s root ready after {time.monotonic() - started:.0f} s: {root}")


def _remove_others(cache: Path, suite: recipe.Suite) -> None:
    """Roots of other recipes that no running site holds, and what interrupted builds of this suite left."""
    for path in cache.glob(f"building-{suite.name}-*"):
        shutil.rmtree(path)
    keep = {recipe.root_directory(one) for one in recipe.SUITES.values()}
    for path in cache.glob("root-*"):
        if path in keep or not path.is_dir():
            continue
        try:
            held = host.lock(path.with_suffix(".lock"), exclusive=True, wait=False)
        except BlockingIOError:
            continue
        shutil.rmtree(path)
        os.close(held)


def _make(suite: recipe.Suite, root: Path) -> None:
    """The build itself, in namespaces of its own."""
    _say(f"{suite.name}: debootstrap (1 of 4) …")
    _run("debootstrap", "--variant=minbase", "--force-check-gpg", suite.name, str(root))
    _run("mount", "-t", "proc", "proc", str(root / "proc"))
    _run("mount", "--rbind", "/dev", str(root / "dev"))
    (root / "etc/resolv.conf").write_bytes(Path("/etc/resolv.conf").read_bytes())
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    refuse_to_start = root / "usr/sbin/policy-rc.d"
    refuse_to_start.write_text("#!/bin/sh\nexit 101\n")
    refuse_to_start.chmod(0o755)
    _say(f"{suite.name}: Debian packages (2 of 4) …")
    _inside(root, "apt-get", "update")
    _inside(root, "apt-get", "install", "--yes", "--no-install-recommends", *suite.packages)
    _say(f"{suite.name}: accounts (3 of 4) …")
    listing = "".join(f"{name} {uid}\n" for name, uid in sorted(recipe.accounts().items()))
    _inside(root, "sh", "-c", recipe.BAKE, text=listing)
    _say(f"{suite.name}: Python packages (4 of 4) …")
    _fill_venv(root)


def _fill_venv(root: Path) -> None:
    """Wheels come through this machine's pip, as it is configured; the root installs them without a network."""
    version = _inside(root, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    abi = "cp" + version.replace(".", "")
    machine = platform.machine()
    choice = ["--python-version", version, "--implementation", "cp", "--only-binary=:all:"]
    choice += [word for name in (abi, "abi3", "none") for word in ("--abi", name)]
    choice += [word for name in PLATFORMS for word in ("--platform", f"{name}_{machine}")]
    wheels = root / "wheels"
    _run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--dest",
        str(wheels),
        *choice,
        *recipe.requirements(),
        "pip",
    )
    venv_python = "/opt/gridwarden/bin/python"
    pip_wheel = next(wheels.glob("pip-*.whl"))
    offline = ["install", "--quiet", "--no-index", "--find-links", "/wheels", "pip", *recipe.requirements()]
    _inside(root, venv_python, f"/wheels/{pip_wheel.name}/pip", *offline)
    shutil.rmtree(wheels)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stderr=subprocess.STDOUT)


def _inside(root: Path, *command: str, text: str | None = None) -> str:
    done = subprocess.run(
        ["chroot", str(root), *command],
        check=True,
        env=CLEAN_ENVIRONMENT,
        input=text or "",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    print(done.stdout)
    return done.stdout


def _say(message: str) -> None:
    print(f"site: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        _make(recipe.SUITES[sys.argv[1]], Path(sys.argv[2]))
    except subprocess.CalledProcessError as error:
        print(error.output or "", f"{error.cmd[0]} failed with exit {error.returncode}", sep="\n")
        sys.exit(1)
