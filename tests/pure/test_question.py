"""What whoran takes for a pid, for a time, and for neither."""

from __future__ import annotations

from datetime import UTC

import pytest

from gridwarden.accounting.question import ask
from gridwarden.errors import BadQuestion

NOW = 1_795_270_920_000_000


def asked(text, **filters):
    return ask(text, now=NOW, zone=UTC, **filters)


def test_a_number_is_a_pid():
    assert asked("12345").pid == 12345
    assert asked("12345").within is None


def test_a_time_is_the_moment_and_a_range_the_range():
    assert asked("@1795263720.5").within == (1_795_263_720_500_000, 1_795_263_720_500_001)
    assert asked("-2h..now").within == (NOW - 7200_000_000, NOW)


def test_a_time_of_syslogs_is_not_taken_for_a_name():
    assert asked("Nov 20 10:00:00").within == asked("2026-11-20 10:00:00").within


def test_a_time_that_a_log_wrote_in_whole_seconds_is_all_of_its_second():
    assert asked("@1795263720").within == (1_795_263_720_000_000, 1_795_263_721_000_000)


@pytest.mark.parametrize("text", ["cms001", "n1", "/DC=org/CN=Anna", "noon"])
def test_a_name_typed_for_a_time_is_told_the_option_that_asks_for_it(text):
    with pytest.raises(BadQuestion, match="neither a pid nor a time") as caught:
        asked(text)
    assert "--account" in caught.value.hint


@pytest.mark.parametrize("job", ["12_3", "12_[1-4]", "12+1"])
def test_a_task_of_an_array_is_not_said_to_be_unknown(job):
    with pytest.raises(BadQuestion, match="array") as caught:
        asked("-2h", job=job)
    assert "JobIDRaw" in caught.value.hint


@pytest.mark.parametrize("text", ["0", "4194305", "1795270920", "9" * 30, "", "soon", None])
def test_what_is_neither_is_refused_in_one_line(text):
    with pytest.raises(BadQuestion) as caught:
        asked(text)
    assert "\n" not in f"{caught.value}{caught.value.hint}"
    assert caught.value.exit_code == 2


def test_an_empty_filter_is_not_taken_for_everyone():
    with pytest.raises(BadQuestion, match="--account"):
        asked("-2h", account="")


def test_filters_alone_ask_about_all_times():
    assert asked(None, job="7")[:2] == (None, None)


def test_an_identity_is_found_by_a_part_of_it():
    question = asked("-2h", identity="anna ex", node="n1")
    assert question.lets_pass(nodes=["n1", "n2"], account="cms001", subject="/CN=Anna Example", job="7")
    assert not question.lets_pass(nodes=["n2"], account="cms001", subject="/CN=Anna Example", job="7")
    assert not question.lets_pass(nodes=["n1"], account="cms001", subject="/CN=Bela", job="7")


def test_a_pattern_filters_without_being_taken_for_a_name():
    question = asked("-2h", account="cms*", node="n1")
    assert question.lets_pass(nodes=["n1"], account="cms001", subject="", job="")
    assert not question.lets_pass(nodes=["n1"], account="atlas001", subject="", job="")
    assert (question.exact("account"), question.exact("node"), question.exact("job")) == (None, "n1", None)


def test_a_pid_with_its_time_behind_a_blank_is_told_how_that_is_written():
    with pytest.raises(BadQuestion) as caught:
        asked("4711 14:02")
    assert "4711@14:02" in caught.value.hint


def test_a_step_of_a_job_is_asked_for_by_its_job_and_a_jobs_server_is_part_of_it():
    with pytest.raises(BadQuestion) as caught:
        asked(None, job="7.batch")
    assert caught.value.hint == "ask for the job: --job 7"
    named = ("7.pbs1", "7.0", "ce.example.org#7.0#1795270920")
    assert [asked(None, job=job).job for job in named] == ["7", "7.0", "7.0"]


def test_a_pid_at_a_time_is_the_process_that_had_it_then():
    assert (asked("4711@@1795263720").pid, asked("4711@@1795263720").within) == (4711, asked("@1795263720").within)
    assert asked("4711@-2h..now").within == asked("-2h..now").within
    assert asked("4711@-2h", children=True).children


@pytest.mark.parametrize("text", ["4711@12", "0@14:02", "4711@noon", "4711@"])
def test_a_pid_at_what_is_no_time_is_refused(text):
    with pytest.raises(BadQuestion):
        asked(text)


def test_children_of_no_process_are_not_asked_for():
    with pytest.raises(BadQuestion, match="--children"):
        asked("14:02", children=True)
