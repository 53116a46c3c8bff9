"""Who held an account at a moment, by what was recorded; nobody is named on a guess."""

from __future__ import annotations

from gridwarden.accounting.lease_history import (
    UNSEEN,
    Sighting,
    held_throughout,
    holders_at,
    holders_of_job,
    holders_within,
    linked_by,
    sighting,
)  # fmt: skip

ANNA = Sighting(100, "cms001", "a" * 32, "x509", "/CN=Anna", "cms", begins=True)
BELA = Sighting(200, "cms001", "b" * 32, "x509", "/CN=Bela", "cms", begins=True)
OTHER = Sighting(50, "cms002", "c" * 32, "x509", "/CN=Chen", "cms", begins=True)


def seen(of: Sighting, time: int) -> Sighting:
    return of._replace(time=time, begins=False)


def subjects(sightings: list[Sighting], moment: int) -> list[str]:
    return [each.subject for each in holders_at(sightings, "cms001", moment)]


def test_an_account_lent_twice_is_never_todays_holders_yesterday():
    history = [BELA, OTHER, ANNA]
    assert subjects(history, 99) == []
    assert subjects(history, 100) == ["/CN=Anna"]
    assert subjects(history, 199) == ["/CN=Anna"]
    assert subjects(history, 200) == ["/CN=Bela"]
    assert subjects(history, 10_000) == ["/CN=Bela"]


def test_a_change_that_was_not_recorded_gives_both_as_candidates():
    history = [ANNA, seen(ANNA, 120), seen(BELA, 180)]
    assert subjects(history, 119) == ["/CN=Anna"]
    assert subjects(history, 150) == ["/CN=Anna", "/CN=Bela"]
    assert subjects(history, 180) == ["/CN=Bela"]


def test_nobody_holds_an_account_that_was_freed():
    freed = seen(ANNA, 150)._replace(subject="", scheme="", vo="", ends=True)
    history = [ANNA, freed, BELA]
    assert subjects(history, 149) == ["/CN=Anna"]
    assert subjects(history, 150) == subjects(history, 199) == []
    assert subjects(history, 200) == ["/CN=Bela"]
    assert subjects([ANNA, freed], 10_000) == []
    assert subjects([ANNA, freed, seen(BELA, 200)], 170) == ["/CN=Bela"]


def test_an_account_that_could_not_be_freed_is_still_its_holders():
    freed = seen(ANNA, 150)._replace(subject="", ends=True)
    assert subjects([ANNA, freed, freed._replace(time=180)], 160) == ["/CN=Anna"]


def test_a_sighting_without_a_name_takes_it_from_its_lease():
    nameless = seen(ANNA, 300)._replace(subject="", scheme="", vo="")
    (candidate,) = holders_at([ANNA, nameless], "cms001", 400)
    assert (candidate.subject, candidate.vo, candidate.since) == ("/CN=Anna", "cms", 100)


def test_a_lease_whose_lending_is_missing_is_said_to_be_incomplete():
    (candidate,) = holders_at([seen(ANNA, 300)], "cms001", 200)
    assert candidate.subject == "/CN=Anna"
    assert candidate.since is None
    assert "missing" in candidate.because


def test_all_who_held_it_within_a_time_are_named_once():
    history = [ANNA, seen(ANNA, 120), BELA, seen(BELA, 220)]
    assert [each.subject for each in holders_within(history, "cms001", 110, 300)] == ["/CN=Anna", "/CN=Bela"]
    assert [each.subject for each in holders_within(history, "cms001", 110, 190)] == ["/CN=Anna"]


def test_a_shared_account_names_nobody_who_may_only_use_it():
    record = {"kind": "lease", "time": 5, "account": "cmsprod", "lease": "d" * 32, "name": "", "scheme": "x509",
              "subject": "/CN=Anna", "vo": "cms"}  # fmt: skip
    assert sighting(record)[3:5] == ("local", "cmsprod")
    assert sighting({**record, "name": "%2fcn%3danna"})[3:5] == ("x509", "/CN=Anna")


def test_the_record_of_freeing_ends_what_the_record_of_lending_began():
    about = {"account": "cms001", "lease": "a" * 32, "name": "%2fcn%3danna"}
    lent = sighting({"kind": "lease", "time": 5, "scheme": "x509", "subject": "/CN=Anna", **about})
    assert subjects([lent, sighting({"kind": "freed", "time": 9, **about})], 9) == []


LINK = {"kind": "observation", "account": "cms001", "lease": "", "name": "%2fcn%3deve%20o%27neil:cms", "inode": 1}


def link(time: int, **changes: object) -> Sighting:
    return sighting({**LINK, "time": time, **changes})


def test_whom_another_program_lends_the_account_to_is_a_candidate_of_whom_the_link_is_all_that_is_known():
    history = [ANNA, seen(ANNA, 120), link(180), BELA]
    anna, eve = holders_at(history, "cms001", 150)
    assert (anna.subject, eve.scheme, eve.subject, eve.lease) == ("/CN=Anna", "x509", "/cn=eve o'neil", "")
    assert "between 1970-01-01T00:00:00.000120+00:00 and 1970-01-01T00:00:00.000180+00:00" in anna.because
    assert subjects(history, 190) == ["/cn=eve o'neil"]
    assert subjects(history, 200) == ["/CN=Bela"]
    links = [[each.time for each in linked_by(history, "cms001", time)] for time in (179, 180, 300)]
    assert links == [[], [180], [180]]


def test_a_link_that_is_a_lease_of_ours_is_nobody_else():
    ours = ANNA._replace(name=LINK["name"])
    assert subjects([ours, link(150), link(180)], 160) == ["/CN=Anna"]


def test_a_link_of_somebody_who_had_the_account_by_our_lease_once_counts_after_anothers():
    ours = ANNA._replace(name=LINK["name"])
    bela = link(150, name="%2fcn%3dbela:cms")
    assert subjects([ours, bela, link(180)], 190) == ["/cn=eve o'neil"]
    assert held_throughout([ours, bela, link(180)], "cms001", 185, 190).holder.subject == "/cn=eve o'neil"
    freed = ours._replace(time=120, begins=False, ends=True)
    assert subjects([ours, freed, link(180)], 190) == ["/cn=eve o'neil"]


def names(candidates):
    return {each.subject for each in candidates}


def test_both_to_whom_an_account_was_linked_at_once_are_named_until_it_was_linked_to_one_alone():
    at_once = [seen(ANNA, 180)._replace(linked=True), link(180)]
    alone = seen(ANNA, 220)._replace(linked=True)
    both = {"/CN=Anna", "/cn=eve o'neil"}
    for history in ([ANNA, *at_once, alone], [ANNA, *at_once], [ANNA, *at_once, seen(ANNA, 190), BELA]):
        for moment in (150, 180, 195):
            found = holders_at(history, "cms001", moment)
            assert names(found) == both, (history, moment)
            assert names(held_throughout(history, "cms001", moment, moment + 1).candidates) == both
            assert held_throughout(history, "cms001", moment, moment + 1).holder is None
    because = holders_at([ANNA, *at_once, alone], "cms001", 195)[0].because
    assert because.startswith("2 names were linked to the account at once, between 1970-01-01T00:00:00.000180")
    assert because.endswith("and 1970-01-01T00:00:00.000220+00:00")
    assert names(holders_at([ANNA, *at_once, alone], "cms001", 220)) == {"/CN=Anna"}
    assert names(holders_at([ANNA, *at_once, BELA], "cms001", 200)) == {"/CN=Bela"}
    assert names(held_throughout([ANNA, *at_once, alone], "cms001", 230, 240, 200).candidates) == both


def test_a_holder_file_says_nothing_of_a_link_that_another_program_made_beside_it():
    history = [ANNA, link(180), seen(ANNA, 190)]
    assert names(holders_at(history, "cms001", 195)) == {"/CN=Anna", "/cn=eve o'neil"}
    assert held_throughout(history, "cms001", 195, 196).holder is None


def test_a_link_that_was_there_before_the_first_holder_file_stands_beside_it():
    assert names(holders_at([link(100), seen(ANNA, 190)], "cms001", 195)) == {"/CN=Anna", "/cn=eve o'neil"}


def test_two_leases_of_our_own_on_one_account_are_both_named():
    history = [ANNA, *(seen(who, 300)._replace(linked=True) for who in (ANNA, BELA)), seen(BELA, 310)]
    assert names(holders_at(history, "cms001", 305)) == {"/CN=Anna", "/CN=Bela"}
    assert held_throughout(history, "cms001", 305, 306).holder is None


def test_two_links_of_other_programs_are_both_named_even_where_one_is_of_our_own_leases_name():
    ours = ANNA._replace(name=LINK["name"])
    history = [ours, link(180), link(180, name="%2fcn%3dmallory")]
    assert names(holders_at(history, "cms001", 185)) == {"/cn=eve o'neil", "/cn=mallory"}
    assert names(linked_by(history, "cms001", 185)) == {"/cn=eve o'neil", "/cn=mallory"}


def test_a_job_after_its_account_was_freed_is_not_its_last_holders():
    freed = seen(ANNA, 150)._replace(ends=True)
    assert held_throughout([ANNA, freed], "cms001", 160, 170) == UNSEEN


def test_a_name_that_says_nobody_stays_as_it_is():
    for name in ("%sha256-00ff", "pseudonym:1234"):
        assert (link(1, name=name).scheme, link(1, name=name).subject) == ("", name)


def test_a_job_that_waited_while_its_account_changed_hands_is_not_given_to_whoever_has_it_when_it_starts():
    without_record = [ANNA, seen(ANNA, 120), link(180), link(190)]
    found = holders_of_job(without_record, "cms001", 130, 185)
    assert [each.subject for each in found] == ["/CN=Anna", "/cn=eve o'neil"]
    with_record = holders_of_job([ANNA, BELA], "cms001", 150, 250)
    assert [each.subject for each in with_record] == ["/CN=Anna", "/CN=Bela"]
    assert all("changed hands between" in each.because for each in (*found, *with_record))
    for history, submit in ((without_record, 130), ([ANNA, BELA], 150)):
        held = held_throughout(history, "cms001", 250, 260, submit)
        assert (held.holder, len(held.candidates)) == (None, 2)


def test_a_job_whose_account_was_lent_as_it_was_submitted_is_its_holders():
    assert [each.subject for each in holders_of_job([ANNA], "cms001", 90, 150)] == ["/CN=Anna"]
    freed = seen(OTHER, 80)._replace(account="cms001", ends=True)
    assert held_throughout([freed, ANNA], "cms001", 150, 160, 90).holder.subject == "/CN=Anna"
