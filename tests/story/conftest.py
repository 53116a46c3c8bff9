"""What the stories of leases share: the site's own gridmapdir, given back as it was found."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden.mapper.site import SiteValues
from tests import leftovers
from tests.site import launcher, recipe
from tests.site_values import values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _put_right(request: pytest.FixtureRequest) -> Iterator[None]:
    if "GRIDWARDEN_IN_SITE" not in os.environ:
        yield
        return
    before = leftovers.Site()
    yield
    if leftovers.failed(request.node):
        before.put_right()


@pytest.fixture
def site() -> Iterator[SiteValues]:
    """The running site; afterwards the directory has the names it had, and the test's accounts are free."""
    site = values_of()
    before = leftovers.names()
    yield site
    for path in leftovers.names() - before:
        path.unlink(missing_ok=True)  # an agent takes away the holder file of a lease that is gone


@pytest.fixture
def work() -> Iterator[Path]:
    """The pilot's working directory, which everybody can look into."""
    shutil.rmtree(launcher.WORK, ignore_errors=True)
    launcher.WORK.mkdir(mode=0o755)
    launcher.own(launcher.WORK)
    yield launcher.WORK
    shutil.rmtree(launcher.WORK)


@pytest.fixture
def settings() -> Iterator[Callable[..., None]]:
    """What a site adds to site.yaml, until the test's end; of its own users nobody is anybody's account for it afterwards."""
    path = Path("/etc/gridwarden/site.d/50-test.yaml")
    path.parent.mkdir(exist_ok=True)
    before = leftovers.names()
    yield lambda **keys: path.write_text(json.dumps(keys)) and None
    path.unlink(missing_ok=True)
    for made in leftovers.names() - before:
        if made.parent == leftovers.HOLDERS and made.name in recipe.USERS:
            made.unlink(missing_ok=True)
