"""site.yaml and site.d as an administrator writes them, with every kind of mistake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gridwarden.errors import ConfigurationError
from gridwarden.load_settings import load, load_with_origins

LEAST = """\
site: EXAMPLE
pools: [cms]
policy:
  - {fqan: "/cms*", pool: cms}
slurm:
  cluster: site
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(LEAST)
    return path


def refused(path: Path, text: str | bytes | None = None) -> list[str]:
    """Return the faults of a configuration, without the directory in front."""
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    return [fault.removeprefix(f"{path.parent}/") for fault in caught.value.faults]


def gridwarden(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from gridwarden.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, "--config", str(path), "config", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_whole_configuration_is_read(site: Path) -> None:
    assert load(site).policy[0].pool == "cms"


def test_broken_yaml_is_found_at_its_line_and_column(site: Path) -> None:
    (fault,) = refused(site, "site: EXAMPLE\npools: [cms\npolicy: []\n")

    assert fault.startswith("site.yaml:3:7: is not YAML: ")


def test_bytes_that_are_not_text_are_named(site: Path) -> None:
    (fault,) = refused(site, b"site: EXAM\xff\xfePLE\n")

    assert fault.startswith("site.yaml: is not YAML: ")
    assert "\n" not in fault


@pytest.mark.parametrize(
    "text",
    [
        "site: &a [*a]\n",
        "slurm: &a {cluster: site}\nsite: EXAMPLE\npools: *a\n",
        "\n".join(["a0: &a0 x", *(f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]" for n in range(1, 12))]),
    ],
)
def test_an_alias_is_refused_before_it_can_fill_the_memory(site: Path, text: str) -> None:
    (fault,) = refused(site, text)

    assert fault.startswith("site.yaml:1: ") and "is an alias" in fault


@pytest.mark.parametrize("text", ["- site\n", "EXAMPLE\n", "--- {}\n--- {}\n"])
def test_a_file_that_is_not_keys_and_values_is_refused(site: Path, text: str) -> None:
    assert refused(site, text)[0].startswith("site.yaml:")


def test_an_empty_file_names_what_it_must_say(site: Path) -> None:
    assert refused(site, "") == [f"site.yaml:1: {key}: is required" for key in ("site", "pools", "policy", "slurm")]


def test_a_key_that_stands_twice_is_never_silently_one_of_them(site: Path) -> None:
    assert refused(site, LEAST + "site: OTHER\n") == ["site.yaml:7: site: stands twice; first in line 1"]


def test_a_key_that_stands_twice_inside_a_rule_is_found(site: Path) -> None:
    text = LEAST.replace("pool: cms}", "pool: cms, pool: atlas}")

    assert refused(site, text) == ["site.yaml:4: policy[0].pool: stands twice; first in line 4"]


def test_an_unknown_key_comes_with_the_nearest_known_one(site: Path) -> None:
    text = LEAST + "  pogramms: /opt/slurm/bin\ngridmapdri: /x\nzzz: 1\n"

    first, second, third = refused(site, text)
    assert first == "site.yaml:7: slurm.pogramms: is not a key; did you mean programs?"
    assert second == "site.yaml:8: gridmapdri: is not a key; did you mean gridmapdir?"
    assert third.startswith("site.yaml:9: zzz: is not a key; here stand site, gridmapdir, pools,")


def test_all_faults_are_told_at_once_each_with_its_line(site: Path) -> None:
    text = """\
site: NO
pools: [cms, cmsprd]
gridmapdir: gridmapdir
policy:
  - {fqan: "/cms*", pool: atlas}
  - {dn: "/CN=x"}
  - {dn: "/CN=y", account: cms001}
bans: /etc/bans
credentials: {limited_proxies: maybe, verify_seconds: "2"}
slurm: {prolog_on_failure: ignore}
"""

    assert refused(site, text) == [
        "site.yaml:1: site: must be text; put it in quotes",
        "site.yaml:2: pools[1]: pool 'cmsprd' begins with pool 'cms': accounts would belong to both",
        "site.yaml:3: gridmapdir: must be an absolute path without '..'",
        "site.yaml:5: policy[0].pool: pool 'atlas' is not one of pools",
        "site.yaml:6: policy[1]: needs exactly one of pool, account, refuse, map_file, globus; it has none of them",
        "site.yaml:7: policy[2].account: account 'cms001' is one that pool 'cms' lends",
        "site.yaml:8: bans: must be a list",
        "site.yaml:9: credentials.limited_proxies: must be true or false",
        "site.yaml:9: credentials.verify_seconds: must be a valid number",
        "site.yaml:10: slurm.cluster: is required",
        "site.yaml:10: slurm.prolog_on_failure: must be record-gap, cancel, requeue-held or drain",
    ]


def test_a_pattern_of_a_rule_that_would_match_others_than_with_lcmaps_is_a_fault_of_its_line(site: Path) -> None:
    text = """\
site: EXAMPLE
pools: [cms]
policy:
  - {dn: "/CN=[^a]*", pool: cms}
  - {fqan: [/cms, "/cms/[x[:digit:]]"], pool: cms}
  - {issuer: "https://[!a]*", group: "/[[.a.]]", pool: cms}
slurm: {cluster: site}
"""
    faults = refused(site, text)
    assert [fault.partition(", which")[0] for fault in faults] == [
        "site.yaml:4: policy[0].dn: the pattern holds '[^'",
        "site.yaml:5: policy[1].fqan[1]: the pattern holds '[:'",
        "site.yaml:6: policy[2].group[0]: the pattern holds '[.'",
    ]


@pytest.mark.parametrize("value", ["!!python/object/apply:os.system [id]", "!secret x", "2026-99-99"])
def test_yaml_that_would_make_something_else_of_a_value_is_refused(site: Path, value: str) -> None:
    assert refused(site, LEAST + f"store: {value}\n")[0].startswith("site.yaml:7: store")


def test_a_key_that_is_not_a_word_is_refused(site: Path) -> None:
    assert refused(site, LEAST + "? [a, b]\n: 1\n") == ["site.yaml:7: the file: a key must be one word"]


def test_site_d_adds_to_sections_and_replaces_lists(site: Path) -> None:
    more = site.with_name("site.d")
    more.mkdir()
    (more / "10-slurm.yaml").write_text("slurm: {spool: /var/spool/%n}\npools: [atlas, cms]\n")
    (more / "20-site.yaml").write_text("slurm: {cluster: other}\n")
    (more / "30-empty.yaml").write_text("# nothing\n")
    (more / "notes.txt").write_text("not: [yaml")
    (more / ".10-slurm.yaml").write_text("not: [yaml")

    settings, origins, replaced = load_with_origins(site)

    assert (settings.slurm.cluster, settings.slurm.spool) == ("other", "/var/spool/%n")
    assert settings.pools == ("atlas", "cms")
    assert str(origins["slurm", "cluster"]) == f"{more}/20-site.yaml:1"
    assert str(origins["pools", 1]) == f"{more}/10-slurm.yaml:2"
    assert str(origins["site",]) == f"{site}:1"
    assert replaced == [f"{more}/10-slurm.yaml:2: pools: replaces the whole list of {site}:2"]


def test_a_fault_in_site_d_names_that_file(site: Path) -> None:
    more = site.with_name("site.d")
    more.mkdir()
    (more / "a.yaml").write_text("\nslurm: {spool: relative}\n")

    assert refused(site) == ["site.d/a.yaml:2: slurm.spool: must be an absolute path without '..'"]


def test_faults_of_several_broken_files_are_told_at_once(site: Path) -> None:
    more = site.with_name("site.d")
    more.mkdir()
    (more / "a.yaml").write_text("a: [")
    (more / "b.yaml").write_text("x: 1\nx: 2\n")

    first, second = refused(site)
    assert first.startswith("site.d/a.yaml:2:1: is not YAML")
    assert second == "site.d/b.yaml:2: x: stands twice; first in line 1"


def test_a_missing_configuration_is_named(site: Path) -> None:
    site.unlink()

    with pytest.raises(ConfigurationError, match=r"site\.yaml: no such file or directory") as caught:
        load(site)
    assert "gridwarden config sample" in caught.value.hint


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_could_have_written_decides_nothing(site: Path, mode: int) -> None:
    site.chmod(mode)

    (fault,) = refused(site)
    assert fault.startswith("site.yaml: can be written by others")


def test_a_file_of_someone_else_decides_nothing(site: Path) -> None:
    os.chown(site, 65534, -1)

    (fault,) = refused(site)
    assert "belongs to uid 65534" in fault


def test_a_site_d_that_others_can_add_to_decides_nothing(site: Path) -> None:
    more = site.with_name("site.d")
    more.mkdir()
    more.chmod(0o777)

    assert "site.d: can be written by others" in refused(site)[0]


def test_a_link_decides_nothing(site: Path) -> None:
    link = site.with_name("link.yaml")
    link.symlink_to(site)

    assert refused(link) == ["link.yaml: is a symbolic link"]


def test_check_lists_every_fault_and_exits_as_documented(site: Path) -> None:
    site.write_text("site: EXAMPLE\nnonsense: 1\n")

    done = gridwarden(site, "check")

    assert done.returncode == 78
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith(f"gridwarden: {site}:") for line in lines[:-1])
    assert len(lines) == 5
    assert lines[-1].startswith("hint: ")


def test_check_names_the_files_it_read(site: Path) -> None:
    site.write_text(f"{LEAST}bans: []\nban_lists: []\n")
    done = gridwarden(site, "check")

    assert (done.returncode, done.stdout) == (0, f"no fault in {site}\n")


def test_show_tells_where_each_value_comes_from(site: Path) -> None:
    more = site.with_name("site.d")
    more.mkdir()
    (more / "a.yaml").write_text("credentials:\n  limited_proxies: true\n")

    lines = [line.split() for line in gridwarden(site, "show", "--origin").stdout.splitlines()]

    assert ["site", "EXAMPLE", f"{site}:1"] in lines
    assert ["policy[0].pool", "cms", f"{site}:4"] in lines
    assert ["credentials.limited_proxies", "true", f"{more}/a.yaml:2"] in lines
    assert ["holders_group", "slurm", "default"] in lines


def test_a_reader_that_goes_away_ends_the_command_quietly(site: Path) -> None:
    program = "import sys; from gridwarden.cli import main; sys.exit(main())"
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        [sys.executable, "-c", program, "--config", str(site), "config", "show"],
        stdout=writing, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip

    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
