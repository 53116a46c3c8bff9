"""Evidence must survive crowds, crashes and full disks, and show whoever touched it."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gridwarden import chain, ledger, records
from gridwarden.errors import ConfigurationError, EvidenceError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    path.mkdir(mode=0o700)
    return path


def hold(directory: Path, job: str) -> tuple[int, str]:
    fields: dict[str, records.Value] = {"batch": "slurm", "job": job, "account": "cms001", "reason": "test"}
    return ledger.append(directory, "hold", fields, node="n1", cluster="site")


def jobs(directory: Path) -> list[records.Value]:
    return [line.body.get("job") for line in chain.read(directory) if line.body.get("kind") == "hold"]


def test_a_record_says_when_where_and_what_and_the_chain_verifies(directory: Path) -> None:
    before = time.time_ns() // 1000
    assert hold(directory, "1")[0] == 1
    assert hold(directory, 'two\n"\x00\udcff')[0] == 2
    first, second = chain.read(directory)
    assert tuple(first.body) == records.COMMON + records.KINDS["hold"]
    assert before <= int(str(first.body["time"])) <= time.time_ns() // 1000
    assert first.body["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert second.body["job"] == 'two\n"\x00\udcff'
    assert chain.faults(directory) == []
    raw = (directory / "current.jsonl").read_bytes().splitlines()
    body = raw[0][raw[0].index(b'"body":') + 7 : -1]
    digest = hashlib.sha256(body).hexdigest()
    assert json.loads(raw[0])["hash"] == hashlib.sha256(f"{'0' * 64}1{digest}".encode()).hexdigest()
    assert (directory / "current.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_undeclared_record_is_refused_before_anything_is_written(directory: Path) -> None:
    for kind, fields in {"hold": {"job": "1"}, "rumour": {}}.items():
        with pytest.raises(EvidenceError, match="not declared"):
            ledger.append(directory, kind, dict(fields), node="n1", cluster="site")
    with pytest.raises(EvidenceError, match="not float"):
        ledger.append(directory, "question", {"who": "root", "text": 1.5, "answered": 0}, node="n", cluster="c")  # type: ignore[dict-item]
    assert list(directory.iterdir()) == []


def _write_many(directory: Path, number: int) -> None:
    for count in range(25):
        hold(directory, f"{number}.{count}")


def test_twenty_writers_at_once_lose_nothing(directory: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(directory, number)) for number in range(20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert chain.faults(directory) == []
    assert [line.seq for line in chain.read(directory)] == list(range(1, 501))
    assert sorted(map(str, jobs(directory))) == sorted(
        f"{number}.{count}" for number in range(20) for count in range(25)
    )


def test_writers_killed_at_any_moment_leave_a_chain_that_goes_on(directory: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.parts.test_ledger import hold\n"
        "for count in range(100000):\n    print(hold(Path(sys.argv[1]), str(count))[0], flush=True)"
    )
    told = 0
    for milliseconds in range(5, 65, 10):
        writer = subprocess.Popen([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE)
        assert writer.stdout
        told = int(writer.stdout.readline())
        time.sleep(milliseconds / 1000)
        writer.send_signal(signal.SIGKILL)
        said = [line for line in writer.communicate()[0].splitlines(keepends=True) if line.endswith(b"\n")]
        told = int(said[-1]) if said else told
        assert [line.seq for line in chain.read(directory)][-1] >= told, "a record that was promised is gone"
    hold(directory, "after")
    assert chain.faults(directory) == []


@pytest.mark.parametrize("torn", [b'{"seq":3,"hash":"ab', b"\0" * 300, b'{"seq":9}\n', b"\n"])
def test_what_a_crash_tore_is_kept_and_recorded(directory: Path, torn: bytes) -> None:
    hold(directory, "1")
    hold(directory, "2")
    with (directory / "current.jsonl").open("ab") as file:
        file.write(torn)
    hold(directory, "3")
    assert torn in (directory / "current.jsonl").read_bytes()
    assert chain.faults(directory) == []
    assert jobs(directory) == ["1", "2", "3"]
    gap = next(line.body for line in chain.read(directory) if line.body["kind"] == "gap")
    assert gap["sha256"] == hashlib.sha256(torn.rstrip(b"\n")).hexdigest()


def test_the_very_first_line_torn_loses_nothing_after_it(directory: Path) -> None:
    (directory / "current.jsonl").write_bytes(b'{"seq":1,"ha')
    hold(directory, "1")
    assert chain.faults(directory) == []
    assert jobs(directory) == ["1"]


def test_a_tear_that_no_gap_explains_is_shown(directory: Path) -> None:
    hold(directory, "1")
    with (directory / "current.jsonl").open("ab") as file:
        file.write(b"{torn")
    assert "no gap record explains" in chain.faults(directory)[0]


def _lines(directory: Path) -> list[bytes]:
    for number in range(1, 6):
        hold(directory, f"job{number}")
    return (directory / "current.jsonl").read_bytes().splitlines(keepends=True)


def test_an_altered_record_is_shown(directory: Path) -> None:
    lines = _lines(directory)
    lines[2] = lines[2].replace(b"job3", b"job9")
    (directory / "current.jsonl").write_bytes(b"".join(lines))
    assert chain.faults(directory) == ["current.jsonl:3: the record was altered"]


def test_a_removed_and_a_reordered_record_are_shown(directory: Path) -> None:
    lines = _lines(directory)
    (directory / "current.jsonl").write_bytes(b"".join(lines[:2] + lines[3:]))
    assert chain.faults(directory)[0].startswith("current.jsonl:3: the chain is broken before this line")
    (directory / "current.jsonl").write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    assert chain.faults(directory)


def test_a_body_can_be_erased_for_privacy_and_the_chain_still_verifies(directory: Path) -> None:
    lines = _lines(directory)
    lines[2] = lines[2][: lines[2].index(b'"body":')] + b'"body":null}\n'
    (directory / "current.jsonl").write_bytes(b"".join(lines))
    assert chain.faults(directory) == []
    assert jobs(directory) == ["job1", "job2", "job4", "job5"]


def test_the_last_body_can_be_erased_and_the_chain_goes_on_behind_it(directory: Path) -> None:
    lines = _lines(directory)
    lines[-1] = lines[-1][: lines[-1].index(b'"body":')] + b'"body":null}\n'
    (directory / "current.jsonl").write_bytes(b"".join(lines))
    assert hold(directory, "next")[0] == 6
    assert chain.faults(directory) == []
    assert jobs(directory) == ["job1", "job2", "job3", "job4", "next"]


def test_the_first_records_cannot_be_removed_unseen_unless_a_store_has_them(directory: Path) -> None:
    lines = _lines(directory)
    (directory / "current.jsonl").write_bytes(b"".join(lines[2:]))
    (fault,) = chain.faults(directory)
    assert fault == "current.jsonl:1: it is the first, but is numbered 3: what stood before it was removed"
    chain.acknowledge(directory, 2)
    assert chain.faults(directory) == []


def test_the_last_records_cannot_be_removed_unseen_once_a_store_has_them(directory: Path) -> None:
    lines = _lines(directory)
    chain.acknowledge(directory, 5)
    assert chain.faults(directory) == []
    (directory / "current.jsonl").write_bytes(b"".join(lines[:3]))
    (fault,) = chain.faults(directory)
    assert fault == f"{directory}: it ends with 3, but a store holds 5: its end was removed"


def test_what_a_crash_tore_just_before_rotation_is_explained_in_the_next_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lines(directory)
    with (directory / "current.jsonl").open("ab") as file:
        file.write(b'{"seq":6,"ha')
    monkeypatch.setattr(ledger, "ROTATE_AT", 100)
    hold(directory, "next")
    assert chain.faults(directory) == []
    assert jobs(directory) == ["job1", "job2", "job3", "job4", "job5", "next"]
    assert [line.body["kind"] for line in chain.read(directory)][5:] == ["gap", "hold"]


def test_rotation_keeps_one_chain_over_all_files(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROTATE_AT", 2000)
    for number in range(30):
        hold(directory, str(number))
    assert len(list(directory.glob("0*.jsonl"))) > 3
    assert chain.faults(directory) == []
    assert jobs(directory) == [str(number) for number in range(30)]
    assert [line.seq for line in chain.read(directory, after=28)] == [29, 30]


def test_what_a_store_holds_is_not_read_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROTATE_AT", 900)
    for number in range(1, 9):
        hold(directory, str(number))
    whole = [(line.seq, line.hash) for line in chain.read(directory)]
    first = directory / "00000001.jsonl"
    second = int(json.loads((directory / "00000002.jsonl").read_bytes().splitlines()[0])["seq"])
    first.write_bytes(b"")
    for after in range(second, 9):
        lines = list(chain.read(directory, after))
        assert [(line.seq, line.hash) for line in lines] == whole[after:]
        assert not any(line.fault for line in lines)
    assert any("removed" in line.fault for line in chain.read(directory))


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense", b"[1]", b'{"kind":[1]}', b'{"kind":"hold","time":1e400}', b"9" * 5000, b' {"kind":"hold"}',
        b'{"kind":"hold"} ', b'{"kind":"hold"}{}', b'{"kind":NaN}', b'{"time":9223372036854775808}', b'{"kind":true}',
        b'{"kind":"\xff"}', b"[" * 30000,
    ],
)  # fmt: skip
def test_a_forged_line_with_the_right_seal_is_shown_and_hides_no_other(directory: Path, body: bytes) -> None:
    _, head = hold(directory, "1")
    line, _, _ = ledger._line(head, 2, body)
    with (directory / "current.jsonl").open("ab") as file:
        file.write(line)
    hold(directory, "3")
    assert [bool(line.fault) for line in chain.read(directory)] == [False, True, False]
    assert jobs(directory) == ["1", "3"]


def test_a_number_that_no_ledger_reaches_is_no_record(directory: Path) -> None:
    hold(directory, "1")
    line = (directory / "current.jsonl").read_bytes().replace(b'"seq":1,', b'"seq":' + b"9" * 5000 + b",")
    with (directory / "current.jsonl").open("ab") as file:
        file.write(line)
    hold(directory, "3")
    assert jobs(directory) == ["1", "3"]
    assert [line.body["kind"] for line in chain.read(directory)] == ["hold", "gap", "hold"]


def test_who_reads_a_ledger_reads_it_as_it_stood_however_fast_others_write(directory: Path) -> None:
    hold(directory, "1")
    hold(directory, "2")
    seen = []
    for line in chain.read(directory):
        seen.append(line.body["job"])
        assert len(seen) <= 2, "a reader on a busy node would never come to an end"
        hold(directory, "later")
    assert seen == ["1", "2"]


def test_a_spoilt_note_of_what_is_stored_is_said_in_one_line(directory: Path) -> None:
    hold(directory, "1")
    (directory / "acknowledged").write_bytes(b"x\n")
    (directory / "acknowledged").chmod(0o600)
    with pytest.raises(ConfigurationError, match="not the number of a record"):
        list(chain.read(directory))


def test_a_full_disk_is_said_and_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    """On a real file system of 64 KiB, in a mount namespace that ends with the process."""
    code = (
        "import os, sys; from pathlib import Path; from tests.parts.test_ledger import hold\n"
        "from gridwarden import chain; from gridwarden.errors import EvidenceError\n"
        "directory = Path(sys.argv[1])\n"
        "count = 0\n"
        "try:\n"
        "    while True:\n        hold(directory, str(count)); count += 1\n"
        "except EvidenceError as error:\n    print(error)\n"
        "assert chain.faults(directory) == [] and len(list(chain.read(directory))) == count > 50\n"
        "(directory / 'filler').unlink(); hold(directory, 'after')\n"
        "assert chain.faults(directory) == [] and len(list(chain.read(directory))) == count + 1\n"
    )
    script = 'mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" && head -c 20000 /dev/zero > "$1/filler" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", tmp_path, sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the hold record could not be written: No space left on device" in done.stdout


def test_a_ledger_that_others_could_write_is_refused(directory: Path) -> None:
    directory.chmod(0o777)
    with pytest.raises(ConfigurationError, match="can be written by others"):
        hold(directory, "1")


def test_a_ledger_keeps_its_name_and_what_was_acknowledged(directory: Path) -> None:
    name = ledger.identifier(directory)
    assert len(name) == 32
    assert ledger.identifier(directory) == name
    assert chain.acknowledged(directory) == 0
    chain.acknowledge(directory, 7)
    assert chain.acknowledged(directory) == 7
    assert sorted(os.listdir(directory)) == ["acknowledged", "id"]
