"""The units that administrators copy: what systemd says of them, and whether they leave their program enough rights."""

from __future__ import annotations

import configparser
import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from gridwarden import agent_client, chain, holders, ledger
from gridwarden.mapper.ban import moment
from tests.gridmap import asked, make_accounts, make_site, person
from tests.site import agent as site_agent
from tests.site.slurm import until

if TYPE_CHECKING:
    from gridwarden.mapper.site import SiteValues

EXAMPLES = Path(__file__).parents[2] / "site-configs"
UNITS = sorted({path.resolve() for kind in ("service", "socket", "timer") for path in EXAMPLES.glob(f"*/*.{kind}")})
AGENT = EXAMPLES / "one-machine" / "gridwarden-agent.service"
FOLLOW = EXAMPLES / "one-machine" / "gridwarden-follow.service"
COLLECT = EXAMPLES / "one-machine" / "gridwarden-collect.service"
ANNA = "/DC=org/DC=example/CN=Anna"
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1  # <linux/prctl.h>
# systemd is not this site's first process: its walls are put up by hand, as far as they are about rights and files.
CONFINED = f"""
set -e
mount --make-rprivate /
for path in "$@"; do mount --bind "$path" "$path"; done
mount -o remount,bind,ro /
exec setpriv --bounding-set "$RIGHTS" --no-new-privs {sys.executable} -c '
import ctypes, os
assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, {PR_MDWE_REFUSE_EXEC_GAIN}, 0, 0, 0) == 0
words = os.environ["COMMAND"].split()
os.execvp(words[0], words)'
"""
WALLED = """
set -e
mount --make-rprivate /
for path in $WRITABLE; do mount --bind "$path" "$path"; done
mount -o remount,bind,ro /
exec "$@"
"""


def read_unit(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign] - names of directives keep their capitals
    unit.read(path)
    return unit


def rights_of(unit: configparser.ConfigParser) -> str:
    """The capabilities that a unit leaves, as setpriv(1) takes them."""
    names = [name.removeprefix("CAP_").lower() for name in unit["Service"]["CapabilityBoundingSet"].split()]
    return "-all," + ",".join(f"+{name}" for name in names)


@pytest.mark.parametrize("unit", UNITS, ids=[f"{path.parent.name}/{path.name}" for path in UNITS])
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    for path in unit.parent.glob("*.[st]*"):
        if path.suffix in {".service", ".socket", ".timer"}:
            shutil.copy(path, tmp_path)  # where a directory belongs to somebody else, systemd says that
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_follow_unit_is_walled_in() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", FOLLOW]  # tenths; 96 without walls
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_collect_unit_is_walled_in() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=22", COLLECT]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_rights_that_the_collect_unit_leaves_are_enough(tmp_path: Path) -> None:
    """A node's ledger, and accounting that another user alone may read, with no more writable than the unit says."""
    unit = read_unit(COLLECT)
    state, logs = tmp_path / "state", tmp_path / "logs"
    (state / "ledger").mkdir(parents=True, mode=0o700)
    hold = {"batch": "slurm", "job": "7", "account": "cms001", "reason": "none"}
    ledger.append(state / "ledger", "hold", hold, node="n1", cluster="site")
    logs.mkdir(mode=0o700)
    log = logs / "20261121"
    shutil.copyfile(EXAMPLES.parent / "tests/data/openpbs-23.06.log", log)
    log.chmod(0o600)
    for path in (log, logs):
        os.chown(path, 1, 1)
    values = {
        "site": "EXAMPLE",
        "pools": ["cms"],
        "policy": [{"fqan": "/cms", "pool": "cms"}],
        "directories": {"state": str(state)},
        "slurm": {"cluster": "site", "programs": "/nonexistent"},
        "store": f"sqlite:///{state}/store.sqlite",
        "accounting": {"files": [str(log)], "owners": [pwd.getpwuid(1).pw_name]},
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(values))
    done = subprocess.run(
        ["unshare", "-mn", "sh", "-c", CONFINED, "sh", state],
        env={
            **os.environ,
            "RIGHTS": rights_of(unit),
            "COMMAND": f"gridwarden --config {tmp_path}/site.yaml collect --evidence",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 rows collected" in done.stdout
    assert "44 collected + 0 quarantined" in done.stdout
    assert chain.acknowledged(state / "ledger") == 1
    assert shlex.split(unit["Service"]["ExecStart"]) == ["/usr/local/bin/gridwarden", "collect", "--evidence"]


def test_the_agents_unit_is_walled_in_as_far_as_an_epilog_can_be() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=42", AGENT]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_job_whose_leavings_take_more_memory_than_the_unit_has_does_not_end_the_agent() -> None:
    """By default systemd stops a service of which the kernel has ended one process for want of memory."""
    assert read_unit(AGENT)["Service"]["OOMPolicy"] == "continue"


def test_the_rights_that_the_agents_unit_leaves_are_enough() -> None:
    """It serves, and hands its socket on, with no more rights than the unit says."""
    unit = read_unit(AGENT)
    rights = rights_of(unit)
    assert shlex.split(unit["Service"]["ExecStart"]) == [site_agent.PROGRAM, "--foreground"]
    agent = site_agent.start("setpriv", "--bounding-set", rights, "--no-new-privs")
    try:
        agent.send_signal(signal.SIGHUP)
        until("it to answer again", lambda: agent_client.status(site_agent.SOCKET))
    finally:
        site_agent.end(agent)


def test_the_agents_unit_lets_it_write_wherever_it_must(site: SiteValues) -> None:
    """A ban that somebody wrote into a file, and a lease of another machine, reach the holder files."""
    banned, elsewhere = (asked(site, person(name), pwd) for name in ("Unit Banned", "Unit Elsewhere"))
    (site.holders / elsewhere.account).unlink()
    paths = [path.removeprefix("-") for path in read_unit(AGENT)["Service"]["ReadWritePaths"].split()]
    writable = " ".join(path for path in paths if os.path.exists(path))
    file = Path(site.bans[0])
    bans = file.read_text()
    file.write_text(f'{bans}"/DC=org/DC=example/CN=Unit Banned"\n')
    agent = site_agent.start("env", f"WRITABLE={writable}", "unshare", "--mount", "sh", "-c", WALLED, "sh")
    try:
        until("the holder file", (site.holders / elsewhere.account).exists)
        until("the ban", lambda: holders.read(site.holders, banned.account).verdict == holders.BANNED)
    finally:
        file.write_text(bans)
        site_agent.end(agent)


def test_the_rights_that_the_follow_unit_leaves_are_enough(tmp_path: Path) -> None:
    """A source that is somebody else's alone, holder files for another group, and no more writable than the unit says."""
    unit = read_unit(FOLLOW)
    site = make_site(tmp_path / "site")
    held = asked(site, person("Anna"), make_accounts(site, "cms001"))
    configuration = tmp_path / "etc"
    published = tmp_path / "published"
    for directory in (configuration, published):
        directory.mkdir()
    key = published / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    public = subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout"], check=True, capture_output=True, text=True
    ).stdout
    source = published / "bans"
    source.write_text(f'# version: {moment()} bans\n"{ANNA}"\n')
    sign = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", source, "-out", f"{source}.sig"]
    subprocess.run(sign, check=True)
    for path in (source, Path(f"{source}.sig"), published):
        path.chmod(0o700)
        os.chown(path, 1, 1)
    (configuration / "own").touch()
    values = {
        "site": "EXAMPLE",
        "pools": ["cms"],
        "policy": [{"fqan": "/cms", "pool": "cms"}],
        "gridmapdir": str(site.gridmapdir),
        "bans": [str(configuration / "own"), str(configuration / "copy")],
        "ban_lists": [],
        "followed": [{"path": str(configuration / "copy"), "source": str(source), "key": public.splitlines()[1]}],
        "directories": {"state": str(tmp_path / "site"), "runtime": str(tmp_path / "site")},
        "holders_group": "daemon",
        "slurm": {"cluster": "site"},
    }
    (configuration / "site.yaml").write_text(yaml.safe_dump(values))
    command = f"gridwarden --config {configuration / 'site.yaml'} follow --format json"
    done = subprocess.run(
        ["unshare", "-mn", "sh", "-c", CONFINED, "sh", configuration, tmp_path / "site"],
        env={**os.environ, "RIGHTS": rights_of(unit), "COMMAND": command},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in json.loads(done.stdout)] == ["updated"]
    assert holders.read(site.holders, held.account).verdict == "banned"
    assert shlex.split(unit["Service"]["ExecStart"]) == ["/usr/local/bin/gridwarden", "follow"]
