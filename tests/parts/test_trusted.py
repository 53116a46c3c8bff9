"""A file that decides something must not have been written, or be replaceable, by anyone but root."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gridwarden import trusted
from gridwarden.errors import ConfigurationError

STRANGER = 61999


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "site" / "policy"
    path.parent.mkdir(mode=0o755)
    path.write_bytes(b"allow\n")
    path.chmod(0o644)
    return path


def test_a_file_of_root_in_directories_of_root_is_read(file: Path) -> None:
    assert trusted.read_file(file) == b"allow\n"


def test_a_file_that_others_could_write_decides_nothing(file: Path) -> None:
    file.chmod(0o664)
    with pytest.raises(ConfigurationError, match=r"policy: can be written by others \(mode 0664\)"):
        trusted.read_file(file)


def test_a_file_in_a_directory_that_others_could_write_decides_nothing(file: Path) -> None:
    file.parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="site: can be written by others"):
        trusted.read_file(file)
    file.parent.chmod(0o1777)  # as /tmp: what root owns there cannot be replaced
    assert trusted.read_file(file) == b"allow\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whose", ["policy", "."])
def test_a_file_or_directory_of_a_stranger_decides_nothing(file: Path, whose: str) -> None:
    os.chown(file.parent / whose, STRANGER, -1)
    with pytest.raises(ConfigurationError, match=f"belongs to uid {STRANGER}"):
        trusted.read_file(file)


def test_links_are_refused_wherever_they_stand(file: Path) -> None:
    (file.parent.parent / "link").symlink_to(file.parent)
    (file.parent / "other").symlink_to(file)
    for path in (file.parent.parent / "link" / "policy", file.parent / "other"):
        with pytest.raises(ConfigurationError, match="is a symbolic link"):
            trusted.read_file(path)


def test_a_pipe_in_place_of_the_file_does_not_hang_the_reader(file: Path) -> None:
    os.mkfifo(file.parent / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="is not a regular file"):
        trusted.read_file(file.parent / "pipe")


def test_a_file_that_grew_without_bound_is_not_read_into_memory(file: Path) -> None:
    file.write_bytes(b"x" * 5000)
    with pytest.raises(ConfigurationError, match="larger than 4096 bytes"):
        trusted.read_file(file, 4096)


def test_what_is_missing_is_named(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere: no such file or directory"):
        trusted.read_file(file.parent / "nowhere" / "policy")
    with pytest.raises(ConfigurationError, match="not absolute"):
        trusted.open_directory("etc")


def test_a_replaced_file_is_whole_and_a_failed_replacement_leaves_the_old_one(file: Path) -> None:
    trusted.replace_file(file, b"deny\n", 0o640)
    assert file.read_bytes() == b"deny\n"
    assert file.stat().st_mode & 0o777 == 0o640
    (file.parent / "full").mkdir()
    with pytest.raises(IsADirectoryError):
        trusted.replace_file(file.parent / "full", b"deny\n", 0o640)
    assert sorted(path.name for path in file.parent.iterdir()) == ["full", "policy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes pid namespaces: needs root")
def test_two_containers_that_replace_one_file_do_not_spoil_each_others(file: Path) -> None:
    code = (
        "import sys; from gridwarden import trusted\n"
        "for _ in range(200): trusted.replace_file(sys.argv[1], sys.argv[2].encode() * 100_000, 0o644)"
    )
    container = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", code, file]
    writers = [subprocess.Popen([*container, letter], stderr=subprocess.PIPE, text=True) for letter in "ab"]
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    assert file.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert os.listdir(file.parent) == [file.name]
