"""Files that somebody else publishes, signed by the openssl that a publisher has."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml

from gridwarden import holders, reasons
from gridwarden.cli import gridwarden
from gridwarden.errors import Refused
from gridwarden.load_settings import load
from gridwarden.mapper import ban_files, follow, published
from gridwarden.mapper.ban import moment
from gridwarden.run import run
from tests.gridmap import asked, bodies, make_accounts, make_site, person
from tests.site_values import values_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the copies are root's own: needs root")
ANNA = "/DC=org/DC=example/CN=Anna"
NOW = time.time()


class Publisher:
    """Whoever publishes for the site: a key, and a directory where the files appear."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory, self.private = directory, directory / "key.pem"
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.private)
        self.key = openssl("pkey", "-in", self.private, "-pubout").decode().splitlines()[1]

    def publish(self, name: str, text: str, seconds: float = NOW) -> Path:
        path = self.directory / name
        path.write_text(f"# version: {moment(seconds)} {name}\n{text}")
        return self.sign(path)

    def sign(self, path: Path) -> Path:
        openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.private, "-in", path, "-out", f"{path}.sig")
        return path


def openssl(*arguments: object) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True).stdout


class Site:
    """A site that follows a ban file, a ban list, a map file and a policy."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.ngi = Publisher(base / "published")
        values = make_site(base / "site")
        self.users = make_accounts(values, "cms001", "cms002")
        self.copies = {
            "bans": base / "bans",
            "list": base / "list",
            "map": base / "map",
            "policy": base / "site.d/50.yaml",
        }
        (base / "site.d").mkdir()
        for name in ("own-bans", "own-list"):
            (base / name).touch(mode=0o644)
        self.configuration = {
            "site": "EXAMPLE",
            "pools": ["cms"],
            "policy": [{"fqan": "/cms", "pool": "cms"}],
            "gridmapdir": str(values.gridmapdir),
            "bans": [str(base / "own-bans"), str(self.copies["bans"])],
            "ban_lists": [str(base / "own-list"), str(self.copies["list"])],
            "followed": [
                {"path": str(path), "source": str(self.ngi.directory / name), "key": self.ngi.key}
                for name, path in self.copies.items()
            ],
            "directories": {"state": str(base / "site"), "runtime": str(base / "site")},
            "holders_group": "daemon",
            "slurm": {"cluster": "site"},
        }
        self.write()
        for name, text in (("bans", ""), ("list", ""), ("map", ""), ("policy", "policy: [{fqan: /cms, pool: cms}]\n")):
            self.ngi.publish(name, text, NOW - 60)

    def write(self) -> None:
        (self.base / "site.yaml").write_text(yaml.safe_dump(self.configuration))

    @property
    def values(self):
        return values_of(self.base / "site.yaml")

    def run(self, *arguments: str) -> tuple[int, str]:
        text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with redirect_stdout(text), redirect_stderr(text):
            code = run(gridwarden, "gridwarden", ["--config", str(self.base / "site.yaml"), *arguments])
        return code, text.buffer.getvalue().decode()

    def follow(self, *arguments: str) -> dict[str, dict[str, object]]:
        """What became of each file; the exit code stands under ``code``."""
        code, text = self.run("follow", "--format", "json", *arguments)
        assert "[" in text, text
        rows = {Path(row["source"]).name: row for row in json.loads(text[text.index("[") : text.rindex("]") + 1])}
        return {**rows, "code": code}


@pytest.fixture
def cell(tmp_path):
    made = Site(tmp_path)
    first = made.follow()
    assert first["code"] == 0, first
    return made


def kept(cell: Site, name: str, word: str) -> None:
    """The publisher's file is refused for a reason that says so, and the last good copy stays what it was."""
    before = {key: path.read_bytes() for key, path in cell.copies.items()}
    found = cell.follow()
    assert (found["code"], found[name]["state"]) == (75, "kept"), found
    assert word in str(found[name]["detail"]), found
    assert {key: path.read_bytes() for key, path in cell.copies.items()} == before


def test_a_published_ban_stops_its_person_here_and_marks_the_lease_they_have(cell):
    held = asked(cell.values, person("Anna"), cell.users)
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    assert cell.follow()["bans"]["state"] == "updated"
    assert holders.read(cell.values.holders, held.account).verdict == "banned"
    with pytest.raises(Refused, match=f"{cell.copies['bans']}:2") as caught:
        asked(cell.values, person("Anna"), cell.users)
    assert caught.value.reason == reasons.BANNED
    assert bodies(cell.values, "ban")[-1]["because"] == f"version {moment(NOW)}"
    cell.ngi.publish("bans", "", NOW + 1)
    cell.follow()
    assert asked(cell.values, person("Anna"), cell.users).account == held.account


def test_a_published_list_and_policy_decide_here(cell):
    cell.ngi.publish("list", "vo=cms\tbecause=incident 17\n")
    cell.ngi.publish("policy", "policy: [{fqan: /cms, refuse: not today}]\n")
    found = cell.follow()
    assert (found["code"], found["list"]["state"], found["policy"]["state"]) == (0, "updated", "updated")
    assert cell.values.rules[0].refuse == "not today"
    with pytest.raises(Refused, match=f"{cell.copies['list']}:2"):
        asked(cell.values, person("Anna"), cell.users)


def test_a_rollback_to_an_older_version_is_refused(cell):
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    cell.follow()
    cell.ngi.publish("bans", "", NOW - 60)
    kept(cell, "bans", "older than")


def test_a_replay_of_a_file_that_was_published_before_is_refused(cell):
    old = {path: path.read_bytes() for path in cell.ngi.directory.glob("bans*")}
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    cell.follow()
    for path, data in old.items():
        path.write_bytes(data)
    kept(cell, "bans", "older than")


def test_two_files_of_one_version_are_not_exchanged(cell):
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    cell.follow()
    cell.ngi.publish("bans", '"/CN=Bela"\n')
    kept(cell, "bans", "another file")


@pytest.mark.parametrize("end", [".sig", ""])
def test_a_truncated_file_or_signature_is_refused(cell, end):
    path = cell.ngi.publish("bans", f'"{ANNA}"\n"/CN=Bela"\n')
    for length in (0, 20, os.path.getsize(f"{path}{end}") - 1):
        cell.ngi.sign(cell.ngi.publish("bans", f'"{ANNA}"\n"/CN=Bela"\n'))
        os.truncate(f"{path}{end}", length)
        kept(cell, "bans", "signature")


def test_a_file_with_one_byte_changed_is_refused(cell):
    path = cell.ngi.publish("bans", f'"{ANNA}"\n')
    path.write_bytes(path.read_bytes().replace(b"Anna", b"Bela"))
    kept(cell, "bans", "signature")


def test_a_file_signed_by_a_wrong_key_is_refused(cell, tmp_path):
    other = Publisher(tmp_path / "other")
    path = cell.ngi.publish("bans", f'"{ANNA}"\n')
    shutil.copy(other.publish("bans", f'"{ANNA}"\n'), path)
    shutil.copy(f"{other.directory}/bans.sig", f"{path}.sig")
    kept(cell, "bans", "no signature of it by the key")


def test_a_signature_of_another_file_does_not_count(cell):
    path = cell.ngi.publish("bans", f'"{ANNA}"\n')
    shutil.copy(f"{cell.ngi.publish('map', '', NOW - 60)}.sig", f"{path}.sig")
    kept(cell, "bans", "signature")


def test_another_file_by_the_same_key_does_not_pass_for_it(cell):
    for end in ("", ".sig"):
        shutil.copy(f"{cell.ngi.publish('bans-of-the-testbed', '')}{end}", f"{cell.ngi.directory}/bans{end}")
    kept(cell, "bans", "signed as bans-of-the-testbed, not as bans")


def test_a_copy_of_before_files_had_names_still_keeps_older_versions_out(cell):
    cell.copies["bans"].write_text(f"# version: {moment(NOW)}\n")
    cell.ngi.publish("bans", "", NOW - 1)
    kept(cell, "bans", "older than")
    cell.ngi.publish("bans", f'"{ANNA}"\n', NOW + 1)
    assert cell.follow()["bans"]["state"] == "updated"


def test_a_file_that_has_another_name_at_its_publisher_is_taken_by_that_name_only(cell):
    cell.configuration["followed"][0]["name"] = "ngi-bans"
    cell.write()
    path = cell.ngi.publish("bans", "")
    kept(cell, "bans", "signed as bans, not as ngi-bans")
    path.write_text(f"# version: {moment(NOW)} ngi-bans\n")
    cell.ngi.sign(path)
    assert cell.follow()["bans"]["state"] == "updated"


@pytest.mark.parametrize("missing", ["bans", "bans.sig"])
def test_a_source_that_is_gone_leaves_the_last_good_copy(cell, missing):
    (cell.ngi.directory / missing).unlink()
    kept(cell, "bans", "no such file")


def test_a_source_that_is_a_pipe_or_without_end_does_not_hold_up_the_others(cell):
    path = cell.ngi.directory / "bans"
    path.unlink()
    os.mkfifo(path)
    kept(cell, "bans", "regular file")
    path.unlink()
    path.symlink_to("/dev/zero")
    kept(cell, "bans", "regular file")
    path.unlink()
    path.touch()
    os.truncate(path, 10**12)
    kept(cell, "bans", "larger than")


@pytest.fixture
def at_source(cell):
    """Do something, in whichever process it is, just before the source of the bans is opened."""
    doing = []

    def look(event, arguments):
        if event == "open" and arguments[0] == str(cell.ngi.directory / "bans"):
            for one in doing:
                one()

    sys.addaudithook(look)
    yield doing.append
    doing.clear()


def test_a_source_that_hangs_does_not_hold_up_the_others(cell, at_source, monkeypatch):
    monkeypatch.setattr(published, "SOURCE_SECONDS", 1.5)
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    cell.ngi.publish("list", "vo=cms\n")
    at_source(lambda: time.sleep(30))
    found = cell.follow()
    assert (found["code"], found["bans"]["state"], found["list"]["state"]) == (75, "kept", "updated")
    assert "could not be read within 1.5 seconds" in str(found["bans"]["detail"])


def test_nobody_waits_for_a_source_to_ban_somebody(cell, at_source, tmp_path):
    def ban():
        with (tmp_path / "waits").open("ab") as told:
            directory = os.open(cell.base / ban_files.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                told.write(b"free ")
            except BlockingIOError:
                told.write(b"locked ")
            os.close(directory)

    cell.ngi.publish("bans", f'"{ANNA}"\n')
    at_source(ban)
    assert cell.follow()["bans"]["state"] == "updated"
    assert (tmp_path / "waits").read_bytes() == b"free "


def test_nobody_holds_up_bans_by_locking_what_everybody_may_read(cell):
    """Any user can: flock(2) asks for no more than a file or directory that is open for reading."""
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    readable = [cell.base, cell.base / "site.d", *cell.copies.values(), cell.base / "own-bans", cell.base / "own-list"]
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        for path in readable:
            fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)
        os.write(tell, b".")
        time.sleep(30)
        os._exit(0)
    try:
        os.read(told, 1)
        assert cell.follow()["bans"]["state"] == "updated"
        assert cell.run("ban", "add", "/CN=Eve", "--because", "stolen")[0] == 0
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "nothing was waited for"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)


def test_a_slow_process_does_not_put_an_older_version_back(cell):
    followed = load(cell.base / "site.yaml").followed[0]
    cell.ngi.publish("bans", "", NOW - 1)

    def be_slow(_):
        cell.ngi.publish("bans", f'"{ANNA}"\n')
        assert cell.follow()["bans"]["state"] == "updated"

    state = follow.follow(followed, be_slow, cell.values, dry_run=False)
    assert state.state == "kept" and "older than" in str(state.detail)
    assert ANNA in cell.copies["bans"].read_text()


@pytest.mark.parametrize(
    "first",
    [
        "",
        "# Version: 2026-01-01T00:00:00Z bans\n",
        "# version: 17 bans\n",
        "\n# version: 2026-01-01T00:00:00Z bans\n",
        "# version: 2026-01-01T00:00:00Z\n",
        "# version: 2026-01-01T00:00:00Z \n",
    ],
)
def test_a_file_that_does_not_say_when_it_was_published_is_refused(cell, first):
    path = cell.ngi.directory / "bans"
    path.write_text(f'{first}"{ANNA}"\n')
    cell.ngi.sign(path)
    kept(cell, "bans", "does not begin with")


def test_a_version_of_the_future_cannot_lock_out_the_ones_of_today(cell):
    cell.ngi.publish("bans", f'"{ANNA}"\n', NOW + 86400)
    kept(cell, "bans", "still to come")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bans", '"/CN=Eve\n'),
        ("list", "nonsense\n"),
        ("map", '"/CN=Eve .cms\n'),
        ("policy", "policy: [{fqan: /cms, pool: nowhere}]\n"),
        ("policy", "policy: [\n"),
        ("policy", "policy: [{fqan: /cms, pool: cms}]\ncredentials: {limited_proxies: true}\n"),
    ],
)
def test_a_signed_file_that_would_stop_the_site_or_do_more_than_it_may_is_refused(cell, name, text):
    cell.ngi.publish(name, text)
    kept(cell, name, "it is signed, but cannot be used")


def test_a_copy_that_grows_old_gives_alarm_even_while_its_source_can_be_read(cell):
    cell.ngi.publish("bans", "", NOW - 59)
    cell.follow()
    assert cell.run("doctor")[1].count("followed-file-old") == 0
    for copy in cell.copies.values():
        copy.write_bytes(re.sub(rb"version: \d{4}", b"version: 2020", copy.read_bytes()))
    shutil.copytree(cell.ngi.directory, cell.base / "frozen")
    for name in cell.copies:
        (cell.ngi.directory / name).unlink()
    found = cell.follow()
    assert found["code"] == 75 and found["bans"]["alarm"] and int(found["bans"]["age_hours"]) > 24 * 365
    code, text = cell.run("doctor")
    assert code == 1 and text.count("followed-file-old") == 4


def test_who_is_not_banned_yet_is_not_said_to_be_banned(cell):
    for hours in ("+3h", "+2h"):
        code, text = cell.run("ban", "add", "--vo", "cms", "--because", "incident 17", "--from", hours)
        assert code == 0 and text.startswith(f"vo=cms banned from {moment(time.time())[:2]}"), text


def test_doctor_finds_the_ban_files_because_of_which_nobody_is_mapped(cell):
    assert "ban-file" not in cell.run("doctor")[1]
    cell.copies["bans"].write_text('"/CN=Eve\n')
    (cell.base / "own-list").unlink()
    code, text = cell.run("doctor", "--format", "json")
    found = [row["detail"] for row in json.loads(text) if row["kind"] == "ban-file-unusable"]
    assert code == 1 and f"{cell.copies['bans']}:1" in found[0] and f"{cell.base}/own-list: is not here" in found[1]


@pytest.mark.parametrize("spoil", ["link", "directory gone"])
def test_one_copy_that_cannot_be_trusted_does_not_keep_the_other_bans_back(cell, spoil):
    held = asked(cell.values, person("Anna"), cell.users)
    path = cell.base / "other/bans"
    if spoil == "link":
        path.parent.mkdir()
        path.symlink_to(cell.copies["list"])
    cell.configuration["followed"].insert(0, {**cell.configuration["followed"][0], "path": str(path)})
    cell.write()
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    code, text = cell.run("follow")
    assert code == 78 and str(path) in text, text
    assert cell.copies["bans"].read_text().endswith(f'"{ANNA}"\n')
    assert holders.read(cell.values.holders, held.account).verdict == "banned"
    code, text = cell.run("doctor")
    assert code == 1 and "followed-file" in text


def test_no_version_decides_that_could_not_be_recorded(cell):
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    before = cell.copies["bans"].read_bytes()
    ledger = cell.base / "site/ledger"
    ledger.rename(cell.base / "elsewhere")
    assert cell.follow()["code"] == 78
    assert cell.copies["bans"].read_bytes() == before
    (cell.base / "elsewhere").rename(ledger)
    assert cell.follow()["bans"]["state"] == "updated"
    assert bodies(cell.values, "ban")[-1]["because"] == f"version {moment(NOW)}"


def test_a_dry_run_says_what_would_be_taken_and_takes_nothing(cell):
    before = cell.copies["bans"].read_bytes()
    cell.ngi.publish("bans", f'"{ANNA}"\n')
    assert cell.follow("--dry-run")["bans"]["state"] == "updated"
    assert cell.copies["bans"].read_bytes() == before


def test_what_is_followed_cannot_be_what_ban_add_writes_nor_lack_a_real_key(cell):
    first = cell.configuration["followed"][0]
    for change, word in (
        ({"path": cell.configuration["bans"][0]}, "ban add writes"),
        ({"path": str(cell.copies["list"])}, "stands twice"),
        ({"key": "MCowBQYDK2VwAyEA"}, "not an Ed25519 public key"),
    ):
        cell.configuration["followed"][0] = {**first, **change}
        cell.write()
        code, text = cell.run("follow")
        assert code == 78 and word in text
