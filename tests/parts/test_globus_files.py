"""Globus mapping files on disk, and the programs that they name."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from gridwarden.errors import ConfigurationError, Unavailable
from gridwarden.mapper import globus, globus_documents, globus_external, globus_followed
from gridwarden.mapper.globus_followed import RETRY_SECONDS, Followed
from tests.globus import EXAMPLES, document, documents, one, people, program, row


def mapping(output):
    return json.dumps([document(row("(.*)@example.org", output))])


class Files:
    """A set of one file, what it gives to Anna, and what was told of it."""

    def __init__(self, directory: Path, told: list[str]) -> None:
        self.path = directory / "map.json"
        self.kept = directory / "kept"
        self.told = told
        self.now = 0.0
        self.followed = self.anew()

    def anew(self) -> Followed:
        return Followed("endpoint", [self.path], self.kept, lambda: self.now)

    def write(self, text: str, mode: int = 0o644) -> None:
        self.path.write_text(text)
        self.path.chmod(mode)

    def account(self, followed: Followed | None = None, **how: bool) -> str | None:
        found = (followed or self.followed).documents(**how)
        mapped = globus.map_identities(found, people(one("anna@example.org")), no_program)
        return mapped and mapped.account


def no_program(document, people):
    raise AssertionError("there is no program")


@pytest.fixture
def files(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("syslog.syslog", lambda _, line: told.append(line))
    return Files(tmp_path, told)


def outcomes(files):
    return [re.match(r"event=globus outcome=(\w+) set=endpoint ", line)[1] for line in files.told]


def test_a_change_holds_from_the_next_decision_on_and_is_told_once(files):
    files.write(mapping("one"))
    assert [files.account(), files.account()] == ["one", "one"]
    files.write(mapping("two"))
    assert [files.account(), files.account()] == ["two", "two"]
    assert outcomes(files) == ["loaded", "loaded"]


@pytest.mark.parametrize("bad", ["", "[", "[{}]", mapping("{5}"), '["x"]'])
def test_a_faulty_change_leaves_the_old_mapping_until_it_is_repaired_and_both_are_told(files, bad):
    files.write(mapping("one"))
    assert files.account() == "one"
    files.write(bad)
    assert [files.account(), files.account()] == ["one", "one"]
    files.write(mapping("two"))
    assert files.account() == "two"
    assert outcomes(files) == ["loaded", "kept", "loaded"]
    assert str(files.path) in files.told[1]


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_could_have_written_is_not_read(files, mode):
    files.write(mapping("one"))
    assert files.account() == "one"
    files.write(mapping("two"), mode)
    assert files.account() == "one"
    assert "can be written by others" in files.told[-1]
    files.path.chmod(0o644)
    assert files.account() == "two"


def test_a_file_of_somebody_else_and_a_link_are_not_read(files, tmp_path):
    (tmp_path / "real").write_text(mapping("one"))
    files.path.symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="symbolic link"):
        files.account()
    files.path.unlink()
    files.write(mapping("one"))
    if os.geteuid() == 0:
        os.chown(files.path, 61234, 61234)
        with pytest.raises(ConfigurationError, match="belongs to uid 61234"):
            files.account()


def test_what_went_wrong_without_a_change_of_the_file_is_tried_again(files, monkeypatch):
    monkeypatch.setattr(globus_followed, "TICK", -1)  # else a file as young as this is read each time
    files.write(mapping("one"))
    assert files.account() == "one"
    files.write(mapping("two"))
    files.path.parent.chmod(0o777)  # a fault outside of the file
    assert files.account() == "one"
    files.path.parent.chmod(0o755)
    assert files.account() == "one"
    files.now += RETRY_SECONDS
    assert files.account() == "two"


def test_two_changes_within_one_tick_of_a_coarse_clock_are_both_seen(files, monkeypatch):
    now = time.time_ns()
    monkeypatch.setattr(globus_followed, "status_of", lambda _: (now, 0, 0, 0, 0))
    files.write(mapping("one"))
    assert files.account() == "one"
    files.write(mapping("two"))
    assert files.account() == "two"


def test_a_program_started_for_one_decision_goes_on_with_the_last_good_mapping_too(files):
    files.write(mapping("one"))
    assert files.account() == "one"
    files.write("[")
    assert files.account(files.anew()) == "one"
    files.path.unlink()
    assert files.account(files.anew()) == "one"
    assert outcomes(files) == ["loaded", "kept", "kept"]


def test_a_good_mapping_is_not_told_again_by_each_program(files):
    files.write(mapping("one"))
    assert [files.account(files.anew()) for _ in range(3)] == ["one"] * 3
    assert outcomes(files) == ["loaded"]


def test_a_look_writes_nothing(files):
    files.write(mapping("one"))
    assert files.account(look_only=True) == "one"
    assert not files.kept.exists()
    assert files.told == []
    assert files.account() == "one"
    assert files.kept.exists()
    assert outcomes(files) == ["loaded"]


def test_without_any_good_mapping_nobody_is_mapped(files):
    files.write("[")
    with pytest.raises(ConfigurationError, match="it is not JSON"):
        files.account()
    files.kept.write_text("of another version")
    files.kept.chmod(0o600)
    with pytest.raises(ConfigurationError, match="it is not JSON"):
        files.account(files.anew())
    assert outcomes(files) == ["failed", "failed"]


def test_several_files_are_one_set_in_their_order_and_change_together(tmp_path, files):
    second = tmp_path / "second.json"
    files.write(mapping("one"))
    second.write_text(mapping("two"))
    both = Followed("endpoint", [second, files.path])
    assert files.account(both) == "two"
    second.write_text("[]")
    assert files.account(both) == "one"
    second.write_text("[")
    files.write(mapping("three"))
    assert files.account(both) == "one"


# Programs.


def answer(identifier, account):
    result = [{"id": identifier, "output": account}]
    return json.dumps({"DATA_TYPE": "identity_mapping_output#1.0.0", "result": result})


ANNA = one("anna@example.org")
GIVEN = people(ANNA)


@pytest.fixture
def script(tmp_path):
    def make(*lines, mode=0o755):
        path = tmp_path / "map-people"
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(mode)
        return path

    return make


def ask(path, *arguments, seconds=5.0, given=GIVEN):
    (found,) = documents(program(path, *arguments))
    asking = globus_external.Asking(gateway="11111111-0000-0000-0000-000000000000", seconds=seconds)
    return globus_external.ask(found, given, asking)


def test_a_program_gets_the_documented_arguments_and_identities_and_nothing_of_our_environment(script, tmp_path):
    os.environ["OF_OURS"] = "do not tell"
    path = script(
        f'printf "%s\\n" "$@" > {tmp_path}/arguments',
        f"env > {tmp_path}/environment; pwd > {tmp_path}/directory; cat > {tmp_path}/input",
        f"echo '{answer(ANNA['id'], 'anna')}'",
    )
    mapped = ask(path, "--flag", 7)
    assert (mapped.account, mapped.identity) == ("anna", GIVEN[0].identity)
    words = (tmp_path / "arguments").read_text().split()
    assert words == [
        "--flag",
        "7",
        "-c",
        globus_external.POSIX_CONNECTOR,
        "-s",
        "11111111-0000-0000-0000-000000000000",
        "-a",
    ]
    assert json.loads((tmp_path / "input").read_text()) == {
        "DATA_TYPE": "identity_mapping_input#1.0.0",
        "identities": [ANNA],
    }
    assert "OF_OURS" not in (tmp_path / "environment").read_text()
    assert (tmp_path / "directory").read_text() == "/\n"
    del os.environ["OF_OURS"]


@pytest.mark.parametrize("last", ["exit 3", "exit 0", "echo '  '", "echo '{\"result\": []}'"])
def test_a_program_that_maps_nobody_leaves_it_to_the_next_document(script, last):
    assert ask(script(last)) is None


@pytest.mark.parametrize(
    "lines",
    [
        ["echo anna"],
        ["echo '[]'"],
        ['echo \'{"result": [{"id": "x"}]}\''],
        ['echo \'{"result": [{"output": 7, "id": "x"}]}\''],
        ['echo \'{"DATA_TYPE": "identity_mapping_output#2.0.0", "result": []}\''],
        # The guide's hypothetical output, for an identity that is not one of those in its input.
        [f"echo '{answer('1234567c-cf51-4032-afb8-05986708abcd', 'alicia')}'"],
        ["head -c 100000 /dev/zero | tr '\\0' ' '"],
        ["kill -9 $$"],
        [f"echo '{answer(ANNA['id'], 'anna')}'", "kill -9 $$"],
        ["echo '['; head -c 60000 /dev/zero | tr '\\0' '['"],
    ],
)
def test_what_is_no_answer_maps_nobody_by_a_later_document_either(script, lines):
    path = script(*lines)
    found = documents(program(path), document(row("(.*)@example.org")))
    with pytest.raises(Unavailable, match="map-people"):
        globus.map_identities(found, GIVEN, lambda one, who: globus_external.ask(one, who, globus_external.Asking()))


def test_the_guides_hypothetical_result_for_an_identity_that_was_asked_about():
    (linked,) = (example for example in EXAMPLES if "two linked" in example["name"])
    given = people(*linked["identities"])
    (found,) = documents(program("/root/custom_script", "--some", "flag", "-a", "-b", "-c"))
    mapped = globus_external.answer_of(answer(given[0].identity.subject, "alicia").encode(), found, given)
    assert (mapped.account, mapped.identity.username) == ("alicia", "alicia@legal.your_institution.com")


def is_alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    "then", ["sleep 1000", "exec >&-; sleep 1000", f"echo '{answer(ANNA['id'], 'anna')}'; sleep 1000"]
)
def test_a_program_that_hangs_is_killed_with_all_that_it_started(script, tmp_path, then):
    path = script(f"sleep 1000 & echo $$ $! > {tmp_path}/pids", then)
    with pytest.raises(Unavailable, match="no answer within"):
        ask(path, seconds=1.0)
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    until = time.monotonic() + 60
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_alive, pids))


def test_what_a_program_leaves_running_does_not_outlive_its_answer(script, tmp_path):
    path = script(f"sleep 1000 > /dev/null & echo $! > {tmp_path}/pids", f"echo '{answer(ANNA['id'], 'anna')}'")
    assert ask(path).account == "anna"
    (pid,) = (tmp_path / "pids").read_text().split()
    until = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_alive(pid)


def test_a_program_that_others_could_have_written_is_not_run(script, tmp_path):
    with pytest.raises(ConfigurationError, match="can be written by others"):
        ask(script(f"touch {tmp_path}/ran", mode=0o777))
    path = script(f"touch {tmp_path}/ran")
    path.parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="can be written by others"):
        ask(path)
    path.parent.chmod(0o755)
    assert not (tmp_path / "ran").exists()


def test_a_program_is_found_through_links_of_root_alone(script, tmp_path):
    path = script("exit 1")
    (tmp_path / "bin").symlink_to(tmp_path)
    assert globus_external.program_of(str(tmp_path / "bin" / "map-people")) == str(path)
    assert ask("/bin/false") is None
    if os.geteuid() == 0:
        os.chown(tmp_path / "bin", 61234, 61234, follow_symlinks=False)
        with pytest.raises(ConfigurationError, match="symbolic link"):
            ask(tmp_path / "bin" / "map-people")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(ConfigurationError, match="symbolic link"):
        ask(tmp_path / "round")


def test_a_program_that_is_not_there_or_not_one_is_named(tmp_path, script):
    with pytest.raises(ConfigurationError, match="no such file"):
        ask(tmp_path / "nothing")
    with pytest.raises(Unavailable, match="map-people"):
        ask(script("exit 0", mode=0o644))


def test_a_file_as_large_as_a_site_may_have_can_be_read():
    data = json.dumps([document(*[row("(.*)@example\\.org")] * 10_000)]).encode()
    (found,) = globus_documents.parse(data, "map.json")
    assert len(found.rows) == 10_000
    with pytest.raises(ConfigurationError, match="more than 10000 mappings"):
        globus_documents.parse(data.replace(b"]}]", b', {"source": "a", "match": "a", "output": "a"}]}]'), "map.json")
