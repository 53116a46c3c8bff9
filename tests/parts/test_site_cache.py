"""The copy of site.yaml that plugins read says what site.yaml says, or is not used."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gridwarden import load_settings
from gridwarden.errors import ConfigurationError
from gridwarden.mapper import site_cache
from gridwarden.mapper.site import from_settings
from gridwarden.mapper.site_cache import to_plain

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps a copy")
SITE = {
    "site": "EXAMPLE",
    "pools": ["cms"],
    "policy": [
        {"issuer": "https://cms.example.org/", "group": ["/cms", "/cms/*"], "pool": "cms"},
        {"fqan": "/cms", "pool": "cms"},
    ],
    "holders_group": "daemon",
    "slurm": {"cluster": "site"},
    "tokens": {"issuers": [{"issuer": "https://cms.example.org/", "audiences": ["x"], "keys": "/etc/keys"}]},
}


@pytest.fixture
def settled(monkeypatch):
    """A site.yaml that nobody has touched for long enough."""
    monkeypatch.setattr(site_cache, "SETTLED_NS", 100_000_000)
    with TemporaryDirectory(prefix="gridwarden-test-") as name:
        path = Path(name) / "site.yaml"
        path.with_suffix(".d").mkdir()
        (path.with_suffix(".d") / "10-more.yaml").write_text("scratch: [/scratch]\n")
        path.write_text(json.dumps(SITE))
        time.sleep(site_cache.SETTLED_NS / 1e9 + 0.1)
        yield path


def read_anew(path: Path):
    return from_settings(load_settings.load(path))


@pytest.fixture
def only_from_copy(monkeypatch):
    """Reading site.yaml itself is the end of a test."""

    def use():
        monkeypatch.setattr(load_settings, "load", lambda path: pytest.fail(f"{path} was read"))

    return use


def test_the_copy_says_the_same(settled, only_from_copy):
    site = read_anew(settled)
    assert to_plain(site_cache.load(settled)) == to_plain(site)
    only_from_copy()
    copied = site_cache.load(settled)
    assert to_plain(copied) == to_plain(site)
    assert list(copied.rules) == list(site.rules)
    assert copied[:4] == site[:4]
    assert settled.with_suffix(".compiled").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text(json.dumps({**SITE, "site": "OTHER"})),
        lambda path: (path.with_suffix(".d") / "20-new.yaml").write_text("site: OTHER\n"),
        lambda path: (path.with_suffix(".d") / "10-more.yaml").write_text("site: OTHER\n"),
        lambda path: os.replace(other(path, "OTHER"), path),
    ],
)
def test_a_change_counts_at_once(settled, change):
    assert site_cache.load(settled).site == "EXAMPLE"
    change(settled)
    assert site_cache.load(settled).site == "OTHER"


def other(path: Path, site: str) -> Path:
    """Another file of the same size and time."""
    new = path.with_name("new")
    new.write_text(json.dumps({**SITE, "site": site.ljust(len("EXAMPLE"))[: len("EXAMPLE")].strip()}))
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    return new


def test_two_changes_at_once_are_both_seen(settled, monkeypatch):
    monkeypatch.setattr(site_cache, "SETTLED_NS", 60_000_000_000)  # it is not settled when it is read, however late
    settled.write_text(json.dumps({**SITE, "site": "ONE"}))
    assert site_cache.load(settled).site == "ONE"
    assert not settled.with_suffix(".compiled").exists()
    settled.write_text(json.dumps({**SITE, "site": "TWO"}))
    assert site_cache.load(settled).site == "TWO"


def test_a_site_yaml_that_others_may_write_is_refused_although_there_is_a_copy(settled):
    site_cache.load(settled)
    settled.chmod(0o666)
    with pytest.raises(ConfigurationError, match="can be written by others"):
        site_cache.load(settled)


@pytest.mark.parametrize("spoil", [b"", b"[]", b"{", b'{"made_of": 1}', None])
def test_a_copy_that_cannot_be_read_is_made_anew(settled, spoil):
    site_cache.load(settled)
    copy = settled.with_suffix(".compiled")
    whole = copy.read_bytes()
    if spoil is None:
        spoil = whole.replace(b"gridwarden.mapper.site", b"subprocess.mapper.site")
        assert spoil != whole
    copy.write_bytes(spoil)
    assert site_cache.load(settled).site == "EXAMPLE"
    assert copy.read_bytes() == whole


def test_a_copy_that_others_may_write_is_not_believed(settled):
    site_cache.load(settled)
    copy = settled.with_suffix(".compiled")
    copy.write_bytes(copy.read_bytes().replace(b"EXAMPLE", b"STRANGE"))
    assert site_cache.load(settled).site == "STRANGE"  # root's own word counts
    copy.chmod(0o666)
    assert site_cache.load(settled).site == "EXAMPLE"


def test_what_editors_leave_in_site_d_stops_nobodys_mapping(settled, only_from_copy):
    directory = settled.with_suffix(".d")
    (directory / ".#10-more.yaml").symlink_to("root@host.123:1")
    (directory / "old").mkdir()
    (directory / "10-more.yaml~").touch()
    (directory / "10-more.yaml~").chmod(0o664)
    assert to_plain(site_cache.load(settled)) == to_plain(read_anew(settled))
    only_from_copy()
    assert site_cache.load(settled).site == "EXAMPLE"


def test_an_update_does_not_go_on_with_what_the_old_gridwarden_made_of_site_yaml(settled, monkeypatch):
    with TemporaryDirectory(prefix="gridwarden-test-") as code:
        monkeypatch.setattr(site_cache, "CODE", (code,))
        site_cache.load(settled)
        copy = settled.with_suffix(".compiled")
        copy.write_bytes(copy.read_bytes().replace(b"EXAMPLE", b"OLD-ONE"))
        assert site_cache.load(settled).site == "OLD-ONE"
        new = Path(code, "new")
        new.touch()
        new.rename(Path(code, "rules.py"))  # as pip, dpkg and rpm replace a file
        assert site_cache.load(settled).site == "EXAMPLE"
