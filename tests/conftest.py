"""Fixtures for every test: who needs the running site, its people, its Slurm."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests import leftovers
from tests.postgres import Server
from tests.site import condor as site_condor
from tests.site import credentials, host
from tests.site import slurm as site_slurm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

pytest_plugins = ["tests.second_try"]
STORY = Path(__file__).parent / "story"
PEOPLE = Path("/srv/credentials")
IN_SITE = "GRIDWARDEN_IN_SITE" in os.environ


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "in_site: needs the running test site; everything in tests/story does")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if STORY in item.path.parents:
            item.add_marker("in_site")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("in_site") and not IN_SITE:
        pytest.skip("needs the running site: python3 -m tests.site run -- pytest " + item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[leftovers.FAILED] = True
    return report


@pytest.fixture(autouse=True)
def _ended_where_it_failed(request: pytest.FixtureRequest) -> Iterator[None]:
    since = leftovers.now()
    yield
    if leftovers.failed(request.node):
        leftovers.end_processes(since)


@pytest.fixture(scope="session")
def site_root() -> None:
    """For tests that bring sites up themselves: a missing site fails in CI, and skips with its reason elsewhere."""
    reason = "already inside a site" if IN_SITE else host.why_no_site()
    if reason is None:
        return
    if os.environ.get("CI") == "true" and not IN_SITE:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def slurm() -> ModuleType:
    """The site's Slurm: submit(user, script, *options), wait(job), pids(job), accounted(job) … of tests.site.slurm."""
    return site_slurm


@pytest.fixture(scope="module")
def condor() -> Iterator[ModuleType]:
    """The site's HTCondor, up for one module's tests: submit(user, script), wait_running(cluster) … of tests.site.condor."""
    site_condor.start()
    yield site_condor
    site_condor.stop()


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> credentials.Grid:
    """A grid of credentials: the site's own inside it, elsewhere one made for this run."""
    if IN_SITE:
        return credentials.Grid(PEOPLE)
    return credentials.make(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="session")
def people(grid: credentials.Grid) -> SimpleNamespace:
    """Whose proxies lie where: `people.anna.proxy`, `people.dora.forged`, `people.chen.subject`, `.vo`, `.fqans`."""
    return SimpleNamespace(
        **{
            person.name: SimpleNamespace(
                **person._asdict(), **{kind: grid.people / person.name / f"{kind}.pem" for kind in credentials.KINDS}
            )
            for person in credentials.PEOPLE
        }
    )


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server of this run's own; who stops it starts it again."""
    server = Server()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The URL of an empty database of that server."""
    url = server.database()
    yield url
    server.drop(url)
