"""A pilot that leaves its batch job behind, where Slurm does not hold on to it (proctrack/linuxproc), with a payload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden import proc, reasons
from tests.site import pilot, slurm
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Callable

# In a session of its own it is not seen among the job's processes once the script, its parent, has ended.
LEAVES = """cd /
export GLEXEC_CLIENT_CERT={owner} X509_USER_PROXY={own}
setsid sh -c 'gridwarden-exec /bin/sleep 6171; exit' </dev/null >/dev/null 2>&1 &
until pgrep -f '^/bin/sleep 6171' >/dev/null; do sleep 0.1; done
"""


def test_a_payload_does_not_outlive_its_job_though_its_pilot_does() -> None:
    script = LEAVES.format(owner=pilot.proxy("anna"), own=pilot.proxy(pilot.OWNER))
    number = slurm.submit(pilot.ACCOUNT, script, "--output=/dev/null", "--chdir=/")
    slurm.wait(number)
    (started,) = pilot.records("payload_start", job=str(number))
    until("nobody", lambda: not proc.owned_by(started["uid"]))
    (ended,) = until("the record", lambda: pilot.records("payload_end", payload=started["payload"]))
    assert ended["because"] == "ended by SIGTERM"


def commands_of(uid: int) -> list[str]:
    return [one.command for one in proc.owned_by(uid)]


def test_a_payload_of_another_job_of_the_same_pilot_goes_on() -> None:
    script = LEAVES.format(owner=pilot.proxy("anna"), own=pilot.proxy(pilot.OWNER)).replace("6171", "6172")
    number = slurm.submit(pilot.ACCOUNT, f"{script}sleep 600", "--output=/dev/null", "--chdir=/")
    (started,) = until("it", lambda: pilot.records("payload_start", job=str(number)))
    until("it to run", lambda: commands_of(started["uid"]) == ["sleep"])
    slurm.wait(slurm.submit(pilot.ACCOUNT, "true", "--output=/dev/null", "--chdir=/", "--oversubscribe"))
    assert commands_of(started["uid"]) == ["sleep"]
    slurm.run_as(pilot.ACCOUNT, "scancel", str(number))
    until("nobody", lambda: not proc.owned_by(started["uid"]))


# By a double fork, and by sudo's own; the launcher first begins when its pilot is the child of pid 1.
DETACHES = """cd /
export GLEXEC_CLIENT_CERT={owner} X509_USER_PROXY={own}
gridwarden-exec /bin/true || exit
(setsid sh -c 'until test $(ps -o ppid= $$) -eq 1; do sleep 0.1; done; gridwarden-exec /bin/sleep 6173; :' &) </dev/null >/dev/null 2>&1
sudo -n -b /usr/libexec/gridwarden/exec exec -- /bin/sleep 6173 </dev/null >/dev/null 2>&1
sleep 600
"""


def test_where_the_site_wants_a_job_a_pilot_that_has_detached_itself_starts_no_payload_without_end(
    settings: Callable[..., None],
) -> None:
    settings(pilot={"outside_jobs": "refuse"})
    refusals = {"reason": reasons.OUTSIDE_JOBS, "command": f"exec of {pilot.ACCOUNT}"}
    before, refused = len(pilot.records("payload_start")), len(pilot.records("refused", **refusals))
    script = DETACHES.format(owner=pilot.proxy("anna"), own=pilot.proxy(pilot.OWNER))
    number = slurm.submit(pilot.ACCOUNT, script, "--output=/dev/null", "--chdir=/")
    until("both", lambda: len(pilot.records("refused", **refusals)) == refused + 2)
    until("the payload in the job", lambda: len(pilot.records("payload_start")) > before)
    slurm.run_as(pilot.ACCOUNT, "scancel", str(number))
    slurm.wait(number)
    assert [one["job"] for one in pilot.records("payload_start")[before:]] == [str(number)]
