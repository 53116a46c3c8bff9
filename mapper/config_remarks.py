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

if TYPE_CHECKING:
    from gridwarden.settings import Settings


def remarks(settings: Settings) -> list[str]:
    """A sentence for each thing to know; raises ConfigurationError with every fault of the files that are here."""
    said, faults, hint = policy_remarks.remarks(settings)
    said += [f"{sentence}; {ban_remarks.INSTALL}" for sentence in ban_remarks.remarks(settings)]
    tokens = from_tokens(settings.tokens, settings.keys_directory)
    said += token_remarks.remarks(tokens, [Rule(**rule.model_dump()) for rule in settings.policy])
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
