"""What a run of the pruner says at its end, to people and to whatever watches over the node."""

from __future__ import annotations

from gridwarden.prune import prometheus
from gridwarden.prune.report import KILLED, LEFT, MOST_ROWS, REMOVED, SPARED, WOULD_KILL, Report


def report(*actions: str, acts: bool = True, **unknown: str) -> Report:
    made = Report(acts=acts)
    for action in actions:
        made.add(action, "cms001", "process 7 (x)")
    for batch, why in unknown.items():
        made.doubt(batch, why)
    return made


def test_only_what_is_left_to_do_is_not_a_success() -> None:
    assert report(SPARED, KILLED, REMOVED).exit_code() == 0
    assert report(WOULD_KILL, acts=False).exit_code() == 1
    assert report(KILLED, LEFT).exit_code() == 1
    assert report(KILLED, slurm="no answer").exit_code() == 75
    doubtful = report(KILLED)
    doubtful.doubt_about("cms001", "pbs", "a job may just start")
    assert (doubtful.exit_code(), doubtful.summary()) == (1, "1 killed, 1 unknown")


def test_a_survivor_is_critical_where_the_pruner_kills_and_a_warning_where_it_reports() -> None:
    assert report(LEFT).nagios()[1] == 2
    assert report(LEFT, acts=False).nagios()[1] == 1
    assert report(LEFT, slurm="no answer").nagios()[1] == 3


def test_a_run_that_lost_sight_of_the_jobs_half_way_says_what_it_had_done() -> None:
    assert report(slurm="x").summary() == (
        "nothing was killed or removed, since it cannot be told what runs here: slurm: x"
    )
    assert report(KILLED, KILLED, slurm="x").summary().startswith("2 killed, and then no more, since")


def test_a_batch_systems_words_cannot_forge_figures_for_nagios() -> None:
    line, _ = report(slurm="x | strays=0\nOK").nagios()
    assert line.count("|") == 1
    assert "\n" not in line


def test_a_bomb_fills_no_report_and_every_kill_is_counted() -> None:
    made = report(*[KILLED] * (MOST_ROWS + 5))
    assert len(made.rows) == MOST_ROWS
    assert made.summary() == f"{MOST_ROWS + 5} killed"
    assert f'gridwarden_prune_things{{action="killed"}} {MOST_ROWS + 5}' in prometheus.text(made, 1.5)


def test_a_batch_system_that_fails_twice_in_a_run_is_one_row() -> None:
    made = report(slurm="x")
    made.doubt("slurm", "x")
    assert len(made.rows) == 1
