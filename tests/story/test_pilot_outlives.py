"""A pilot that leaves its batch job behind, where Slurm does not hold on to it (proctrack/linuxproc), with a payload."""

from __future__ import annotations

from gridwarden import proc
from tests.site import pilot, slurm
from tests.site.slurm import until

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
    until("nobody", lambda: not proc.owned_by(started["uid"]), 20)
    (ended,) = until("the record", lambda: pilot.records("payload_end", payload=started["payload"]))
    assert ended["because"] == "ended by SIGTERM"


def test_a_payload_of_another_job_of_the_same_pilot_goes_on() -> None:
    script = LEAVES.format(owner=pilot.proxy("anna"), own=pilot.proxy(pilot.OWNER)).replace("6171", "6172")
    number = slurm.submit(pilot.ACCOUNT, f"{script}sleep 600", "--output=/dev/null", "--chdir=/")
    (started,) = until("it", lambda: pilot.records("payload_start", job=str(number)))
    slurm.wait(slurm.submit(pilot.ACCOUNT, "true", "--output=/dev/null", "--chdir=/", "--oversubscribe"))
    assert [one.command for one in proc.owned_by(started["uid"])] == ["sleep"]
    slurm.run_as(pilot.ACCOUNT, "scancel", str(number))
    until("nobody", lambda: not proc.owned_by(started["uid"]), 20)
