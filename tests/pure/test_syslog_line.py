"""A log line must say what happened, whatever the names in it."""

from hypothesis import given
from hypothesis import strategies as st

from gridwarden import syslog_line


def test_a_decision_reads_as_key_value_fields() -> None:
    line = syslog_line.line("map", "refused", reason="banned", subject="/DC=org/CN=Ann Example", account="", seq=None)
    assert line == 'event=map outcome=refused reason=banned subject="/DC=org/CN=Ann Example"'


@given(st.text(min_size=1))
def test_no_name_can_end_the_line_or_add_a_field(name: str) -> None:
    line = syslog_line.line("map", "refused", subject=name, reason="banned")
    assert line.isascii() and line.isprintable()
    head, _, tail = line.partition(" subject=")
    assert head == "event=map outcome=refused"
    value = tail.removesuffix(" reason=banned")
    assert (value[0] == value[-1] == '"' and '"' not in value[1:-1]) or not set(value) & set(' ="')


def test_a_name_of_a_megabyte_does_not_fill_the_log() -> None:
    assert len(syslog_line.line("map", "refused", subject="A" * 1_000_000)) < 4096
