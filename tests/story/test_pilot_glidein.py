"""A glidein: a startd of HTCondor in a Slurm job runs jobs of several people, each by the launcher as its owner."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import proc
from tests.site import condor as site_condor
from tests.site import pilot
from tests.site.slurm import run_as, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

POOL = """\
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, IDTOKENS
ALLOW_ADVERTISE_STARTD = $(ALLOW_ADVERTISE_STARTD), pilotcms@site.example
ALLOW_ADVERTISE_MASTER = $(ALLOW_ADVERTISE_MASTER), pilotcms@site.example
DELEGATE_JOB_GSI_CREDENTIALS = False
# Only glideins run jobs.
START = False
"""
GLIDEIN = """\
RELEASE_DIR = /usr
BIN = /usr/bin
SBIN = /usr/sbin
LIB = /usr/lib/condor
LIBEXEC = /usr/libexec/condor
ETC = $ENV(GLIDEIN_DIR)
LOCAL_DIR = $ENV(GLIDEIN_DIR)
LOG = $(LOCAL_DIR)/log
EXECUTE = $(LOCAL_DIR)/execute
LOCK = $(LOCAL_DIR)/log
RUN = $(LOCAL_DIR)/log
SPOOL = $(LOCAL_DIR)/spool
LOCAL_CONFIG_FILE =
LOCAL_CONFIG_DIR =
DAEMON_LIST = MASTER, STARTD
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:19618
CCB_ADDRESS =
USE_SHARED_PORT = False
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
UID_DOMAIN = glidein.local
FILESYSTEM_DOMAIN = $(STARTD_NAME).glidein
TRUST_DOMAIN = site.example
SEC_TOKEN_DIRECTORY = $(LOCAL_DIR)/tokens
SEC_PASSWORD_DIRECTORY = $(LOCAL_DIR)/passwords.d
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS = IDTOKENS
SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS
SEC_DEFAULT_INTEGRITY = REQUIRED
ALLOW_ADMINISTRATOR = pilotcms@*
ALLOW_DAEMON = *
ALLOW_READ = *
ALLOW_WRITE = *
STARTD_NAME = glidein
MASTER_NAME = glidein
START = True
NUM_CPUS = 4
MEMORY = 1000
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
SUSPEND = False
PREEMPT = False
KILL = False
BASE_CGROUP =
CGROUP_TRACKING = False
USE_PID_NAMESPACES = False
MOUNT_UNDER_SCRATCH =
STARTD_ENFORCE_DISK_LIMITS = False
SEC_USE_FAMILY_SESSION = False
DELEGATE_JOB_GSI_CREDENTIALS = False
UPDATE_INTERVAL = 5
STARTER_UPDATE_INTERVAL = 3
NOT_RESPONDING_WANT_CORE = False
RunBenchmarks = False
USER_JOB_WRAPPER = $ENV(GLIDEIN_DIR)/wrapper
"""
# What HTCondor runs in place of the job: the job, by the launcher, for the owner of the proxy that came with it.
WRAPPER = """\
#!/bin/sh
export GLEXEC_CLIENT_CERT="$X509_USER_PROXY" X509_USER_PROXY=/home/pilotcms/bela.pem
exec /usr/sbin/glexec "$@"
"""
PLACE = Path("/srv/glidein")  # payloads can pass through it, as they could not through the pilot's home
START = f"""
export GLIDEIN_DIR={PLACE} CONDOR_CONFIG={PLACE}/config
exec /usr/sbin/condor_master -f
"""
SUBMIT = """\
executable = {home}/work
should_transfer_files = yes
when_to_transfer_output = on_exit
transfer_output_files = result
x509userproxy = {home}/proxy.pem
initialdir = {home}
output = said
queue
"""
WORK = "#!/bin/sh\nid -un\numask 077\nid -un > result\n"
ENDLESS = "#!/bin/sh\nsetsid sleep 4801 &\nsleep 4802\n"
AUTHORIZED = ("ADVERTISE_STARTD", "ADVERTISE_MASTER", "READ")


@pytest.fixture(scope="module")
def _pool() -> Iterator[None]:
    """The site's HTCondor, in which glideins of the pilot's may take part; payloads get their scratch directory."""
    written = {
        Path("/etc/condor/config.d/90-glidein.config"): POOL,
        Path("/etc/gridwarden/site.d/50-scratch.yaml"): "pilot: {scratch: hand-over}\n",
    }
    for path, text in written.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    passwords = Path("/etc/condor/passwords.d")
    passwords.mkdir(mode=0o700, exist_ok=True)
    (passwords / "POOL").write_bytes(os.urandom(64))
    (passwords / "POOL").chmod(0o600)
    site_condor.start()
    yield
    site_condor.stop()
    for path in written:
        path.unlink()
    shutil.rmtree(passwords)


@pytest.fixture
def glidein(slurm: ModuleType, _pool: None) -> Iterator[int]:
    """The Slurm job of a glidein that has joined the pool."""
    pilot.proxy(pilot.OWNER)
    home = PLACE
    for name in ("", "log", "execute", "spool", "tokens", "passwords.d"):
        (home / name).mkdir(mode=0o700 if name in ("tokens", "passwords.d") else 0o755)
    (home / "config").write_text(GLIDEIN)
    (home / "wrapper").write_text(WRAPPER)
    (home / "wrapper").chmod(0o755)
    words = [word for right in AUTHORIZED for word in ("-authz", right)]
    token = subprocess.run(
        ["condor_token_create", "-identity", "pilotcms@site.example", *words],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (home / "tokens" / "pool").write_text(token)
    (home / "tokens" / "pool").chmod(0o600)
    subprocess.run(["chown", "-R", f"{pilot.ACCOUNT}:", str(home)], check=True)
    job = slurm.submit(pilot.ACCOUNT, START, "--ntasks", "2")
    command = ["condor_status", "-af", "Name"]
    try:
        until(
            "the glidein to join",
            lambda: "glidein" in subprocess.run(command, capture_output=True, text=True, check=False).stdout,
            180,
        )
        yield job
    finally:
        subprocess.run(["condor_rm", "-all"], capture_output=True, check=False)
        slurm.cancel(job)
        slurm.wait(job)
        shutil.rmtree(home)


def submit(user: str, person: str, work: str) -> int:
    """A job of a user's with the proxy of a person."""
    home = Path(pwd.getpwnam(user).pw_dir)
    pilot.give(pilot.CREDENTIALS / person / "proxy.pem", "proxy.pem", user)
    script = home / "work"
    script.write_text(work)
    script.chmod(0o755)
    done = run_as(user, "condor_submit", "-terse", "-", text=SUBMIT.format(home=home))
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split(".")[0])


def account_of(person: SimpleNamespace) -> str:
    command = ["gridwarden", "map", "--proxy", str(person.proxy)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def test_each_persons_job_in_a_glidein_runs_as_its_owner_and_its_results_come_back(
    glidein: int, people: SimpleNamespace
) -> None:
    jobs = {"alice": (submit("alice", "anna", WORK), "anna"), "bob": (submit("bob", "chen", WORK), "chen")}
    until("the jobs to leave the queue", lambda: not any(site_condor.queue(job) for job, _ in jobs.values()), 180)
    for user, (_, person) in jobs.items():
        home = Path(pwd.getpwnam(user).pw_dir)
        account = account_of(getattr(people, person))
        assert ((home / "said").read_text(), (home / "result").read_text()) == (f"{account}\n", f"{account}\n")
        assert (home / "result").stat().st_uid == pwd.getpwnam(user).pw_uid
    starts = pilot.records("payload_start", job=str(glidein))
    assert {start["subject"] for start in starts} == {people.anna.subject, people.chen.subject}
    assert {start["batch"] for start in starts} == {"slurm"}
    until("no scratch directory to be left", lambda: not list((PLACE / "execute").iterdir()))


def test_cancelling_the_glidein_ends_what_its_jobs_started(
    glidein: int, slurm: ModuleType, people: SimpleNamespace
) -> None:
    submit("alice", "anna", ENDLESS)
    account = pwd.getpwnam(account_of(people.anna))

    def sleeping() -> list[proc.Process]:
        return [process for process in proc.owned_by(account.pw_uid) if process.command == "sleep"]

    until("the payload and what it started", lambda: len(sleeping()) == 2, 180)
    slurm.cancel(glidein)
    slurm.wait(glidein)
    until("all of it to be gone", lambda: not list(proc.owned_by(account.pw_uid)))
    (start,) = pilot.records("payload_start", job=str(glidein))
    (end,) = until("the record", lambda: pilot.records("payload_end", payload=start["payload"]))
    assert end["because"] or end["signal"]
    until("the pilot to have all of its place", lambda: owners() == {pwd.getpwnam(pilot.ACCOUNT).pw_uid})


def owners() -> set[int]:
    """Whose the files of the glidein are, of which its daemons may be removing some."""
    found = set()
    for path in PLACE.rglob("*"):
        with suppress(FileNotFoundError):
            found.add(path.lstat().st_uid)
    return found
