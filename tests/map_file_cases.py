"""Map files with people whom their lines match or narrowly miss, drawn by chance from a seed."""

from __future__ import annotations

from random import Random

DNS = [
    "/DC=org/DC=example/CN=Anna",
    "/DC=org/DC=example/CN=Anna Roe",
    "/DC=org/DC=example/OU=Robots/CN=Robot 7",
    "/DC=org/DC=example/CN=A[bc]",
    "/DC=org/DC=example/CN=Ab",
    "/DC=org/DC=example/CN=star*",
    "/DC=org/DC=example/CN=why?",
    '/DC=org/DC=example/CN=quo"te',
    "/DC=org/DC=example/CN=back\\slash",
    "/DC=org/DC=example/CN=Jos\\xC3\\xA9",
    "/C=XX/O=Grid, Ltd #1/CN=comma",
]
FQANS = [
    "/cms",
    "/cms/Role=production",
    "/cms/higgs",
    "/cms/higgs/Role=pilot",
    "/cmsx",
    "/atlas",
    "/atlas/Role=pilot",
    "/atlas/uk-1/soft_ware/Role=sgm.x",
    "/CMS",
]
ACCOUNTS = ["alice", "bob", "cmsprod", "pilotatlas"]
POOLS = ["cms", "atlas"]
BROKEN = ['"/CN=never closed .cms', "/cms .cms \\", '"/atlas" .atlas\\']


def draw(chance: Random, files: int, people: int) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """``files`` map files, each with ``people``: (DN, FQANs)."""
    return [draw_file(chance, people) for _ in range(files)]


def draw_file(chance: Random, people: int) -> tuple[str, list[tuple[str, list[str]]]]:
    keys = [
        pattern(chance, chance.choice(DNS if chance.random() < 0.5 else FQANS)) for _ in range(chance.randint(1, 9))
    ]
    lines = [line(chance, key) for key in keys]
    if chance.random() < 0.2:
        lines.insert(chance.randint(0, len(lines)), chance.choice(BROKEN))
    return "\n".join(lines) + chance.choice(["\n", "", "\n\n"]), [person(chance, keys) for _ in range(people)]


def pattern(chance: Random, text: str) -> str:
    """``text`` itself, or a pattern that matches it or nearly does."""
    place = chance.randrange(1, len(text))
    character = text[place]
    return chance.choice(
        [
            text,
            text,
            text,
            text[:place] + "*",
            "*" + text[place:],
            text[:place] + "*" + text[place + 1 :],
            text[:place] + "?" + text[place + 1 :],
            text[:place] + f"[{character}x]" + text[place + 1 :],
            text[:place] + f"[!{character}]" + text[place + 1 :],
            text[:place] + f"[!x{character}-]" + text[place + 1 :],
            text[:place] + "[a-n]" + text[place + 1 :],
            text[:place] + "[" + text[place:],
            text[:place] + "[]" + text[place:],
            text + "/*",
            text + "*",
            text.swapcase(),
            "*",
        ]
    )


def line(chance: Random, key: str) -> str:
    """A line of a map file with that key."""
    written = '"' + (key.replace('"', '\\"') if chance.random() < 0.5 else key) + '"' if chance.random() < 0.8 else key
    if key.endswith("\\") or (written[0] == '"' and chance.random() < 0.02):
        written = f'"{key}\\""'
    values = [chance.choice([*ACCOUNTS, *("." + pool for pool in POOLS)]) for _ in range(chance.randint(0, 3))]
    if values and chance.random() < 0.1:
        values[0] = chance.choice(["\\.cms", "al\\ice", ".c\\ms", '"bob"', "nobody-there", "\\#x"])
    between = chance.choice([" ", "\t", ",", " , ", ",,"])
    end = chance.choice(["", "", "", " ", "  # why", "#why", ","])
    return (
        chance.choice(["", "", " ", "\t"])
        + written
        + chance.choice([" ", "\t", "  ", ",", ""])
        + between.join(values)
        + end
    )


def person(chance: Random, keys: list[str]) -> tuple[str, list[str]]:
    """Somebody whose DN and FQANs are those of the lists, or what a key would match, or close to either."""
    dns = [key for key in keys if key.startswith("/") and "=" in key.split("/")[1]] or DNS
    dn = near(chance, concrete(chance, chance.choice(dns if chance.random() < 0.8 else DNS)))
    wanted = [concrete(chance, key) for key in keys if key not in dns]
    fqans = [
        near(chance, chance.choice(wanted if wanted and chance.random() < 0.8 else FQANS))
        for _ in range(chance.randint(0, 3))
    ]
    return dn, fqans


def concrete(chance: Random, key: str) -> str:
    """Something that a pattern could be meant for."""
    return key.replace("*", chance.choice(["", "x", "/CN=deep"])).replace("?", chance.choice("x/a"))


def near(chance: Random, text: str) -> str:
    """``text``, or with one small change."""
    if chance.random() < 0.6:
        return text
    place = chance.randrange(1, len(text)) if len(text) > 1 else 0
    return chance.choice(
        [text[:place] + text[place + 1 :], text + "/x", text[:place].upper() + text[place:], text + "x"]
    )
