"""The same map files and people, given to the real LCMAPS and to gridwarden's policy."""

from __future__ import annotations

import pwd
from random import Random

import pytest

from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper.lcmaps_plugins import PLUGINS
from gridwarden.mapper.map_files import read_map
from gridwarden.mapper.policy import NOWHERE, decide
from gridwarden.mapper.rules import Rule
from gridwarden.pools import is_of_pool
from tests import map_file_cases
from tests.gridmap import person
from tests.site import lcmaps_files, recipe

FILES, PEOPLE = 200, 25
ACCOUNTS = [name for name in recipe.accounts() if name.rstrip("0123456789") in recipe.POOLS]
USERS = {user.pw_name for user in pwd.getpwall()}


def ours(plugin, text, dn, fqans):
    """The pool or account that a policy of this one file gives; None for a refusal."""
    identity = person()._replace(subject=dn, fqans=tuple(fqans))
    map_file = read_map(text.encode("utf-8", "surrogateescape"), "map")
    around = NOWHERE._replace(map_file=lambda _: map_file, pools=tuple(recipe.POOLS))
    try:
        found = decide([identity], [Rule(map_file="map", plugin=plugin)], around)
    except (Refused, ConfigurationError):
        return None
    return found.target if found.kind == "pool" or found.target in USERS else None


def theirs(plugin, cases):
    """What LCMAPS gives, as ``ours``: a pool for its account."""
    for people in lcmaps_files.answers(plugin, cases, ACCOUNTS):
        yield [
            next((pool for pool in recipe.POOLS if account and is_of_pool(account, pool)), account)
            for account in people
        ]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_each_of_5000_people_is_given_what_lcmaps_gives_them(plugin):
    cases = map_file_cases.draw(Random(plugin), FILES, PEOPLE)
    mapped = 0
    for (text, people), answers in zip(cases, theirs(plugin, cases), strict=True):
        for (dn, fqans), answer in zip(people, answers, strict=True):
            mapped += answer is not None
            assert ours(plugin, text, dn, fqans) == answer, (text, dn, fqans)
    assert mapped > 500, "most people miss every line: nothing much was compared"


@pytest.mark.parametrize("end", ["\\,", "\\ ", "\\,,", "\\ , "])
def test_a_separator_behind_a_backslash_is_part_of_an_account_s_name_that_nobody_has(end):
    dn = "/DC=org/DC=example/CN=Anna"
    for plugin, value in (("localaccount", "alice"), ("poolaccount", ".cms")):
        for text, given in ((f'"{dn}" {value}{end}\n', False), (f'"{dn}" {value}{end[1:]}\n', True)):
            ((answer,),) = theirs(plugin, [(text, [(dn, [])])])
            assert (answer is not None, ours(plugin, text, dn, []) is not None) == (given, given), text


@pytest.mark.parametrize(
    ("why", "plugin", "text", "fqans", "given"),
    [
        (
            ("A DOS line end becomes part of a value or of a bare key there; here the line cannot be read, and whoever "
            "stands below it is refused."),
            "voms_poolaccount", '"/cms" .cms\r\n"/atlas" .atlas\n', ["/atlas"], ("atlas", None),
        ),
        (
            "The same for any other control byte.",
            "voms_poolaccount", '"/cms" .cms # \x01\n"/atlas" .atlas\n', ["/atlas"], ("atlas", None),
        ),
        (
            ("[^x] means all but x to glibc and is left open by POSIX: here it makes the line one that cannot be read, as "
            "do classes such as [[:alpha:]]."),
            "voms_poolaccount", '"/cm[^x]" .cms\n', ["/cms"], ("cms", None),
        ),
        (
            ("A backslash before the blank that would end a bare key makes that blank part of the key there; here the line "
            "cannot be read."),
            "voms_poolaccount", '/cms\\ .atlas .lhcb\n"/cms" .cms\n', ["/cms"], ("cms", None),
        ),
        (
            "A line that ends with a backslash cannot be read here, in a comment neither.",
            "voms_poolaccount", '"/cms" .cms # \\\n', ["/cms"], ("cms", None),
        ),
        (
            ("A pool without a free account hands a person on to the pool of their next FQAN there, and so to another "
            "account than yesterday's; here the first FQAN that has a pool decides, and a full or unknown one refuses."),
            "voms_poolaccount", '"/cms/Role=pilot" .lhcb\n"/cms" .cms\n', ["/cms/Role=pilot", "/cms"], ("cms", None),
        ),
        (
            "A fixed account that a pool of the site lends belongs to whoever holds it, so no file can give it away here.",
            "voms_localaccount", '"/cms" cms007\n', ["/cms"], ("cms", None),
        ),
    ],
)  # fmt: skip
def test_what_differs_from_lcmaps_is_stricter_and_on_this_list(why, plugin, text, fqans, given):
    dn = "/DC=org/DC=example/CN=Anna"
    ((answer,),) = theirs(plugin, [(text, [(dn, fqans)])])
    assert (answer, ours(plugin, text, dn, fqans)) == given, why


def test_a_name_with_a_slash_in_a_part_is_found_as_old_files_have_it_where_lcmaps_knows_one_spelling():
    dn, bare = "/DC=org/DC=example/CN=pilot\\/ce.example.org", "/DC=org/DC=example/CN=pilot/ce.example.org"
    for key, answer in ((dn, "cms"), (bare, None)):
        text = f'"{key}" .cms\n'
        assert list(theirs("poolaccount", [(text, [(dn, [])])])) == [[answer]], key
        assert ours("poolaccount", text, dn, []) == "cms"
