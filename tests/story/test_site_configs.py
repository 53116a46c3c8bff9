"""Each example of a site, copied as its page says, is accepted by the real programs that read its files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "site-configs"
SITES = sorted(EXAMPLES.glob("slurm-*"))
FRAGMENTS = sorted({path.resolve() for path in EXAMPLES.glob("*/slurm.conf")})
CONF = Path("/etc/slurm/slurm.conf")


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def in_effect() -> bool:
    return subprocess.run(["gridwarden", "doctor"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def conf(slurm: ModuleType) -> Iterator[str]:
    """The site's slurm.conf without the lines of the fragments, all of which is back afterwards."""
    before = CONF.read_text()
    keys = {line.partition("=")[0] for path in FRAGMENTS for line in path.read_text().splitlines()}
    yield "".join(line for line in before.splitlines(keepends=True) if line.partition("=")[0] not in keys)
    CONF.write_text(before)
    run("scontrol", "reconfigure")
    slurm.until("the nodes to be idle", lambda: run("sinfo", "--noheader", "--format=%T").split() == ["idle"])


@pytest.mark.parametrize("site", SITES, ids=[path.name for path in SITES])
def test_gridwarden_and_sudo_accept_a_site_as_it_is_copied(site: Path, tmp_path: Path) -> None:
    run("cp", "-rL", site, tmp_path / "copy")
    run("gridwarden", "--config", tmp_path / "copy" / "site.yaml", "config", "check")
    if (tmp_path / "copy" / "site.d").exists():
        shutil.rmtree(tmp_path / "copy" / "site.d")  # which is for the nodes alone
        run("gridwarden", "--config", tmp_path / "copy" / "site.yaml", "config", "check")
    if (rule := tmp_path / "copy" / "sudoers").exists():
        rule.chmod(0o440)
        assert "parsed OK" in run("visudo", "--check", "--strict", "--file", rule)


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=[path.parent.name for path in FRAGMENTS])
def test_slurmctld_takes_the_fragment_and_the_doctor_finds_it_in_effect(
    fragment: Path, conf: str, slurm: ModuleType
) -> None:
    CONF.write_text(conf)
    run("scontrol", "reconfigure")
    slurm.until("Slurm to call nothing of ours", lambda: "gridwarden" not in run("scontrol", "show", "config"))
    CONF.write_text(conf + fragment.read_text())
    run("scontrol", "reconfigure")
    slurm.until("Slurm to call ours", lambda: "gridwarden" in run("scontrol", "show", "config"))
    slurm.until("the doctor to find it in effect", in_effect)
