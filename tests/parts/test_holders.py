"""Hooks must know who holds an account, and believe no file that another could have written."""

import os
from pathlib import Path

import pytest

from gridwarden import holders, node_file, reasons
from gridwarden.errors import ConfigurationError, Refused


def holder(account: str = "cms001", verdict: str = holders.OK) -> holders.Holder:
    return holders.Holder(
        account=account, uid=2101, gid=2101, lease="ab" * 16, name="%2fcn%3dann", scheme="x509",
        subject="/CN=Ann\nverdict\tok\\", vo="cms", fqans=("/cms/Role=pilot", "/cms"), since=1, inode=7,
        verdict=verdict, because="stolen key",
    )  # fmt: skip


def test_a_holder_is_read_back_byte_for_byte_and_only_the_group_may_read_it(tmp_path: Path) -> None:
    holders.publish(tmp_path, holder(verdict=holders.BANNED), os.getgid())
    found = holders.read(tmp_path, "cms001")
    assert found.pairs() == holder(verdict=holders.BANNED).pairs()
    assert (tmp_path / "cms001").stat().st_mode & 0o777 == 0o640
    holders.publish(tmp_path, holder("cms002"))
    assert [one.account for one in holders.everyone(tmp_path)] == ["cms001", "cms002"]
    holders.remove(tmp_path, "cms001")
    assert [one.account for one in holders.everyone(tmp_path)] == ["cms002"]


def test_an_account_without_a_holder_is_said_to_have_none(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Refused) as refusal:
            holders.read(directory, "cms001")
        assert refusal.value.reason == reasons.HOLDER_MISSING


@pytest.mark.parametrize("account", ["../cms001", ".cms001", "a/b"])
def test_no_account_name_reaches_outside_the_directory(tmp_path: Path, account: str) -> None:
    with pytest.raises(Refused) as refusal:
        holders.read(tmp_path, account)
    assert refusal.value.reason == reasons.HOLDER_INVALID


def _spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    if how == "link":
        path.symlink_to("/etc/passwd")
    elif how == "pipe":
        os.mkfifo(path, 0o640)
    elif how == "directory":
        path.mkdir()
    else:
        swaps = {
            "cut": data[:-30],
            "other account": data.replace(b"account\tcms001", b"account\tcms002"),
            "root": data.replace(b"uid\t2101", b"uid\t0"),
            "verdict": data.replace(b"verdict\tok", b"verdict\tmaybe"),
            "twice": data + b"verdict\tok\n",
            "unknown key": data + b"extra\t1\n",
        }
        path.write_bytes(swaps.get(how, data))
        path.chmod(0o662 if how == "mode" else 0o640)


@pytest.mark.parametrize(
    "how",
    ["link", "pipe", "directory", "cut", "other account", "root", "verdict", "twice", "unknown key", "mode"],
)
def test_a_holder_file_that_is_not_as_we_write_it_is_not_believed(tmp_path: Path, how: str) -> None:
    holders.publish(tmp_path, holder())
    _spoil(tmp_path / "cms001", how)
    with pytest.raises(Refused) as refusal:
        holders.read(tmp_path, "cms001")
    assert refusal.value.reason == reasons.HOLDER_INVALID


def test_a_node_file_that_lacks_a_key_says_which_and_how_to_get_it(tmp_path: Path) -> None:
    path = tmp_path / "node"
    pairs = [(key, "x") for key in node_file.REQUIRED]
    node_file.write(path, pairs)
    assert node_file.read(path)["ledger"] == ["x"]
    node_file.write(path, [pair for pair in pairs if pair[0] != "locks"])
    with pytest.raises(ConfigurationError, match=r"has no locks") as error:
        node_file.read(path)
    assert error.value.hint == "gridwarden config install writes it"
