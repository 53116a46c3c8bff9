"""What ``gridwarden config check`` says of the files that site.yaml names and the mapper reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper import ban_remarks, globus_remarks, policy_remarks, token_remarks
from gridwarden.mapper.globus_documents import LONGEST_FILE
from gridwarden.mapper.rules import Rule
from gridwarden.mapper.token_values import from_tokens
from gridwarden.values import plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gridwarden.settings import Settings


def remarks(settings: Settings, additions: Path) -> list[str]:
    """A sentence for each thing to know; raises ConfigurationError with every fault of the files that are here.

    ``additions`` is the directory whose files are laid over site.yaml.
    """
    said, faults, hint = policy_remarks.remarks(settings)
    said += of_followed(settings, additions)
    said += [f"{sentence}; {ban_remarks.INSTALL}" for sentence in ban_remarks.remarks(settings)]
    tokens = from_tokens(settings.tokens, settings.keys_directory)
    said += token_remarks.remarks(tokens, [Rule(**plain(rule.model_dump())) for rule in settings.policy])
    for error in (*ban_remarks.faults(settings), *token_remarks.faults(tokens)):
        faults += error.faults
        hint = error.hint or hint
    for path in (path for one in settings.globus.sets for path in one.files):
        if not os.path.lexists(path):
            said.append(f"{path}: is not here")
            continue
        try:
            said += globus_remarks.remarks(trusted.read_file(path, LONGEST_FILE), str(path))
        except ConfigurationError as error:
            faults += error.faults
            hint = error.hint or hint
    if faults:
        raise ConfigurationError(faults, hint)
    return said


def of_followed(settings: Settings, additions: Path) -> Iterator[str]:
    """Copies of followed files that decide nothing, and published files of which one could pass for the other."""
    read = {*settings.bans, *settings.ban_lists, settings.leases.groupmapfile}
    read |= {path for rule in settings.policy for path in (rule.map_file, rule.groupmapfile)}
    known: dict[tuple[str, str], tuple[int, Path]] = {}
    for place, followed in enumerate(settings.followed):
        path, source = followed.path, followed.source
        other, first = known.setdefault((followed.key, followed.signed_name), (place, source))
        if first != source:
            yield (
                f"followed[{place}]: {source} and the {first} of followed[{other}] are signed by one key as "
                f"{followed.signed_name}, so either passes for the other; have them published under names of their own"
            )
        if path.parent == additions:
            if path.suffix != ".yaml" or path.name.startswith("."):
                yield f"followed[{place}]: nothing reads {path}: its name must end with .yaml, and not begin with ."
        elif path not in read:
            yield f"followed[{place}]: nothing reads {path}: no ban file, ban list, map_file or groupmapfile has that name"
