"""Who is believed when they say that they have verified somebody: root, and whom the site names."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper.credential_file import caller_uid

if TYPE_CHECKING:
    from gridwarden.mapper.site import SiteValues


def believed(what: str, site: SiteValues) -> str:
    """The name of who runs this, by sudo or as themselves, if the site believes them about ``what`` they bring.

    Raises Refused (credential-untrusted): it proves nothing by itself, so anybody could be named.
    """
    uid = caller_uid() or 0 if os.geteuid() == 0 else os.geteuid()
    try:
        caller = pwd.getpwuid(uid).pw_name
    except KeyError:
        caller = f"uid {uid}"
    if uid == 0 or caller in site.callers:
        return caller
    raise Refused(
        reasons.CREDENTIAL_UNTRUSTED,
        f"{caller} brings {what}, which proves nothing",
        "credentials.callers in site.yaml says who else than root is believed",
    )
