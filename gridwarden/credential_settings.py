"""The declaration of the section ``credentials``: where trust in X.509 credentials comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gridwarden.setting_types import AbsolutePath, Account, Seconds, Section

MissingFile = Literal["accept", "refuse"]
Hours = Annotated[int, Field(strict=True, ge=1)]


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
    missing_revocation_list: MissingFile = Field(
        "accept",
        description="Whether an authority without a revocation list (`HASH.r0`) counts: those of short-lived "
        "credentials issue none. One that is out of date or damaged never does.",
    )
    missing_signing_policy: MissingFile = Field(
        "refuse",
        description="Whether an authority without a signing policy (`HASH.signing_policy`), which says whom it may "
        "certify, counts. One that is there is always obeyed.",
    )
    legacy_proxies: bool = Field(
        default=False, description="Whether proxies of the kind before RFC 3820 (`CN=proxy`) are accepted."
    )
    limited_proxies: bool = Field(
        default=False, description="Whether a limited proxy may be mapped; gatekeepers refuse them."
    )
    proxy_hours: tuple[Hours, ...] = Field(
        (),
        description="For how long a proxy may be valid: the one that the person made, the one made from that, and so "
        "on; deeper ones than are listed as they like. LCMAPS's `--max-proxy-level-ttl=0`, `=1`, and so on.",
        examples=[[336, 24]],
    )
    leaf_proxy_hours: Hours | None = Field(
        None,
        description="For how long the last proxy, which is presented, may be valid. LCMAPS's `--max-proxy-level-ttl=L`.",
        examples=[24],
        json_schema_extra={"unit": "hours"},
    )
    voms_hours: Hours | None = Field(
        None,
        description="For how long VOMS attributes may be valid. LCMAPS's `--max-voms-ttl`.",
        examples=[24],
        json_schema_extra={"unit": "hours"},
    )
    callers: tuple[Account, ...] = Field(
        (),
        description="Users who may say by sudo whom they have verified: Globus identity sets, and `gridwarden map "
        "--verified-by`. They are believed whoever they name. root always is.",
        examples=[["gcsweb"]],
    )
    verify_seconds: Seconds = Field(
        2,
        gt=0,
        le=60,
        description="How long the verification of one credential may take.",
    )
