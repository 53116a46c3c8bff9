"""The declaration of the section ``credentials``: where trust in X.509 credentials comes from."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gridwarden.setting_types import AbsolutePath, Section


class Credentials(Section):
    """Where trust in credentials comes from, and what is accepted."""

    certificates: AbsolutePath = Field(
        Path("/etc/grid-security/certificates"),
        description="Directory of trusted certificate authorities, their signing policies and revocation lists.",
    )
    vomsdir: AbsolutePath = Field(
        Path("/etc/grid-security/vomsdir"),
        description="Directory of trusted VOMS servers: one `VO/HOST.lsc` each.",
    )
    limited_proxies: bool = Field(
        default=False, description="Whether a limited proxy may be mapped; gatekeepers refuse them."
    )
    verify_seconds: float = Field(
        2,
        strict=True,
        gt=0,
        le=60,
        description="How long the verification of one credential may take.",
        json_schema_extra={"unit": "seconds"},
    )
