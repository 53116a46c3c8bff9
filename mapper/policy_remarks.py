"""What ``gridwarden config check`` says of the policy: its rules, the map files that they name, the accounts."""

from __future__ import annotations

import grp
import os
from typing import TYPE_CHECKING

from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import accounts, job_groups, map_file_traps, policy_traps
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.lcmaps_plugins import PLUGINS
from gridwarden.mapper.map_files import mappings
from gridwarden.mapper.rules import Rule
from gridwarden.mapper.surroundings import read_map_file
from gridwarden.values import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.map_files import MapFile
    from gridwarden.settings import Settings

SHOWN = 5


def remarks(settings: Settings) -> tuple[list[str], list[str], str]:
    """Sentences on what to know, faults of the files that are here, and a hint for those."""
    rules = [Rule(**plain(rule.model_dump())) for rule in settings.policy]
    users = accounts.UsersReadOnce()
    said = [*policy_traps.traps(rules), *of_accounts(rules, users)]
    said += [*of_job_groups(rules, settings.leases.system_groups), *of_pools(settings, users)]
    faults: list[str] = []
    hint = ""
    for path, plugin in files_of(rules):
        if not os.path.lexists(path):
            said.append(f"{path}: is not here, so nobody whom no rule above it maps is mapped")
            continue
        try:
            map_file = read_map_file(path)
        except ConfigurationError as error:
            faults += error.faults
            hint = error.hint or hint
            continue
        if map_file.fault:
            faults.append(f"{map_file.fault}; whoever no line above it maps is refused")
        if plugin:
            said += map_file_traps.traps(map_file, PLUGINS[plugin], settings.pools, users)
        else:
            said += of_groups(map_file)
    return list(dict.fromkeys(said)), list(dict.fromkeys(faults)), hint


def files_of(rules: list[Rule]) -> list[tuple[str, str]]:
    """Each map file of the rules with its plugin, and each groupmapfile with an empty one, once."""
    named = [(rule.map_file, rule.plugin or "") for rule in rules] + [(rule.groupmapfile, "") for rule in rules]
    return list(dict.fromkeys((path, plugin) for path, plugin in named if path is not None))


def of_accounts(rules: list[Rule], users: Users) -> Iterator[str]:
    """Fixed accounts that nobody could be mapped to here."""
    for place, rule in enumerate(rules):
        if rule.account:
            try:
                accounts.usable(rule.account, users)
            except Refused as refusal:
                yield f"policy[{place}]: {refusal.detail}"


def of_job_groups(rules: list[Rule], allowed: Collection[str]) -> Iterator[str]:
    """Groups of rules that no job could have here."""
    for place, rule in enumerate(rules):
        for name in (*filter(None, [rule.primary_group]), *rule.secondary_groups):
            try:
                job_groups.gid_of(name, allowed)
            except ConfigurationError as error:
                yield f"policy[{place}]: {error}"
            except Refused as refusal:
                yield f"policy[{place}]: {refusal.detail}"


def of_pools(settings: Settings, users: Users) -> Iterator[str]:
    """Pools without an account, or with accounts that the machine has no user for."""
    if not os.path.lexists(settings.gridmapdir):  # worker nodes need none
        return
    with Gridmapdir(settings.gridmapdir) as directory:
        entries = list(directory.entries())
    for pool in settings.pools:
        names = accounts.survey(entries, pool).names
        lost = sorted(name for name in names if not is_user(name, users))
        if not names:
            yield f"pool {pool} has no account in {settings.gridmapdir}"
        if lost:
            shown = ", ".join(lost[:SHOWN]) + " …" * (len(lost) > SHOWN)
            yield f"pool {pool}: {len(lost)} of {len(names)} accounts have no passwd entry here: {shown}"


def is_user(name: str, users: Users) -> bool:
    """Whether the machine knows a user of that name."""
    try:
        users.getpwnam(name)
    except KeyError:
        return False
    return True


def of_groups(map_file: MapFile) -> Iterator[str]:
    """Groups of a groupmapfile that the machine does not have: whoever would get one is refused."""
    for line in map_file.lines:
        group = next((value for value in mappings(line.rest) if not value.startswith(".")), None)
        if group is not None and not is_group(group):
            yield f"{map_file.name}:{line.number}: there is no group {group!r} on this machine"


def is_group(name: str) -> bool:
    """Whether the machine has a group of that name."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
