from __future__ import annotations

import grp

import pytest

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.identity import remembered
from gridwarden.mapper.map_files import mappings, parse
from gridwarden.mapper.naming import name_of, suffix_groups
from gridwarden.mapper.site import LeaseValues
from tests.gridmap import person

GIDS = {"ga": 3005, "gb": 3003, "gc": 3009, "gd": 3001, "gp": 3004, "alias": 3003}
MAP = parse(
    b"""
"/cms/ga" ga
"/cms/gb" gb
"/cms/gc" gc
"/cms/gd" gd
"/cms/alias" alias
"/cms/pool" .pool
"/cms/pool" .pool gc
"/cms/lost" lost
"/cms" gp # everybody
""",
    "groupmapfile",
)


class Groups:
    def getgrnam(self, name):
        return grp.struct_group((name, "x", GIDS[name], []))

    def getgrgid(self, gid):
        return self.getgrnam(next(name for name, known in GIDS.items() if known == gid))


@pytest.mark.parametrize(
    ("fqans", "suffix"),
    [  # as the real LCMAPS wrote them
        ("/cms/ga /cms/gb /cms/gc /cms/gd", "ga gd gb gc"),
        ("/cms/gd /cms/gc /cms/gb /cms/ga", "gd gb ga gc"),
        ("/cms/none /cms/gc /cms/gb /cms", "gb gp gc"),
        ("/cms/alias /cms", "gb gp"),
        ("/cms/gd /cms/alias /cms/gb /cms", "gd gb gp"),
        ("/cms /cms/ga /cms/gd /cms/ga /cms/gd", "gp gd ga"),
        ("/cms /cms", "gp gp"),
        ("/cms/pool /cms", "gc gp"),
        ("/cms/none", ""),
        ("", ""),
    ],
)
def test_the_groups_stand_where_lcmaps_writes_them(fqans, suffix):
    assert suffix_groups(fqans.split(), MAP, Groups()) == tuple(suffix.split())


def test_a_group_that_does_not_exist_is_named_with_its_line():
    with pytest.raises(ValueError, match=r"^9: there is no group 'lost'"):
        suffix_groups(["/cms", "/cms/lost"], MAP, Groups())


def test_what_a_key_maps_to_is_read_as_lcmaps_reads_it():
    assert mappings(r'a, b\tc ,,.d\  "e" \#f#g h') == ["a", "btc", ".d ", '"e"', "#f"]
    assert mappings("") == []


@pytest.mark.parametrize("slot", [-1, 3])
def test_nobody_gets_more_job_slots_than_the_site_allows(slot):
    with pytest.raises(Refused) as caught:
        name_of(person(), LeaseValues(slots=2), slot)
    assert caught.value.reason == reasons.SLOT_NOT_ALLOWED


def test_each_slot_has_a_name_of_its_own_and_none_is_the_plain_one():
    plain = lease_name(person().subject)
    assert [name_of(person(), LeaseValues(slots=2), slot) for slot in (0, 1, 2)] == [
        plain,
        f"{plain}:mapcount=0001",
        f"{plain}:mapcount=0002",
    ]


def test_the_lease_of_a_token_never_has_the_name_of_a_certificates():
    token = remembered("token", "https://cms-auth.example.org/,8f14", (), "")
    assert name_of(token, LeaseValues()) == lease_name("/token/https://cms-auth.example.org/,8f14")
    names = {name_of(token._replace(scheme=scheme), LeaseValues()) for scheme in ("token", "idtoken", "globus")}
    assert len(names) == 3


def test_without_its_groupmapfile_nobody_is_mapped(tmp_path):
    with pytest.raises(ConfigurationError, match="groupmapfile"):
        name_of(person(), LeaseValues(name="dn-and-groups", groupmapfile=tmp_path / "groupmapfile"))


def test_a_groupmapfile_with_a_lost_group_says_where(tmp_path):
    (tmp_path / "groupmapfile").write_text('"/cms" no-such-group-here\n')
    with pytest.raises(ConfigurationError, match="groupmapfile:1: there is no group"):
        name_of(person(), LeaseValues(name="dn-and-groups", groupmapfile=tmp_path / "groupmapfile"))
