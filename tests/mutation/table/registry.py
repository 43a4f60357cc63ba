"""Mechanisms of the registry and the ownership of an instance id."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="registry",
        name="session token",
        what="An entry is removed only by the session that made it.",
        file="store/scripts/registry.lua",
        code="local removed = holder == us and (not token or token == session)",
        mutant="local removed = holder == us",
        without="the end of an old connection removes the entry of the new one",
        tests=("contract/test_registry.py::test_an_old_session_leaves_the_entry_of_a_newer_one[fake]",),
    ),
    Mechanism(
        promise="registry",
        name="only our own entries",
        what="An entry is removed only by the instance it names.",
        file="store/scripts/registry.lua",
        code="local removed = holder == us and (not token or token == session)",
        mutant="local removed = not token or token == session",
        without="an instance without tokens loses its entry to our token",
        tests=("contract/test_registry.py::test_a_gateway_without_tokens_keeps_its_entry[fake]",),
    ),
    Mechanism(
        promise="registry",
        name="no token stays behind",
        what="A session that ends takes its token along, whoever holds the entry by then.",
        file="store/scripts/registry.lua",
        code="if token == session then redis.call('HDEL', sessions, imei) end",
        mutant="",
        without="tokens of sessions long gone pile up",
        tests=("contract/test_registry.py::test_a_gateway_without_tokens_keeps_its_entry[fake]",),
    ),
    Mechanism(
        promise="registry",
        name="a second try yields",
        what="A registration that comes late yields to another instance that is alive.",
        file="store/scripts/registry.lua",
        code="if holder and holder ~= us and not outranks and is_alive(holder) then return",
        mutant="if false then return",
        without="it takes the device back from where it has gone",
        tests=(
            "contract/test_registry.py::test_a_deferred_registration_yields_to_a_live_holder_only[fake-alive]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="a second try does not yield to the dead",
        what="A registration that comes late takes the device from an instance without a heartbeat.",
        file="store/scripts/registry.lua",
        code="if holder and holder ~= us and not outranks and is_alive(holder) then return",
        mutant="if holder and holder ~= us and not outranks then return",
        without="a dead instance closes our connection",
        tests=(
            "contract/test_registry.py::test_a_deferred_registration_yields_to_a_live_holder_only[fake-dead]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="a replaced process registers nothing",
        what="A process whose instance id has a newer owner changes no entry.",
        file="store/scripts/registry.lua",
        code="if owner and owner ~= input.boot then return 'FENCED' end",
        mutant="",
        without="two processes share one name in the registry",
        tests=("store/test_takeover.py::test_a_replaced_process_registers_nobody",),
    ),
    Mechanism(
        promise="registry",
        name="a first try is made once",
        what="A registration that Redis did not hear is not made later: the device may have gone elsewhere.",
        file="store/fleet/registry.py",
        where="Registrar._fail",
        code="list(removals.values())[-RETAINED:]",
        mutant="[*failed, *removals.values()]",
        without="an old registration takes the device from where it is by then",
        tests=(
            "store/test_registry.py::test_a_registration_that_fails_is_counted_told_and_not_repeated",
            "store/test_registry_outages.py::"
            "test_while_redis_is_away_every_first_registration_fails_at_once_and_none_is_made_late",
        ),
    ),
    Mechanism(
        promise="registry",
        name="an end is told in the end",
        what="The end of a session is repeated until Redis has heard it.",
        file="store/fleet/registry.py",
        where="Registrar._fail",
        code="list(removals.values())[-RETAINED:]",
        mutant="",
        without="the entry of a device that has left stays",
        tests=("store/test_registry.py::test_the_end_of_a_session_is_repeated_until_redis_has_heard_it",),
    ),
    Mechanism(
        promise="registry",
        name="registrations wait for the takeover",
        what="A process that has not taken its instance id over yet does not end when it is fenced.",
        file="store/fleet/registry.py",
        where="Registrar._send",
        code='_Fenced if owned else NotOwnerYet("The instance id is not taken over yet.")',
        mutant="_Fenced",
        without="a start while Redis is away ends the process when Redis is back",
        tests=("store/test_takeover.py::test_before_the_takeover_a_registration_fails_and_ends_nothing",),
    ),
    Mechanism(
        promise="registry",
        name="an old refusal fences nobody",
        what="Who owned the instance id is looked at before a call and not after it.",
        file="store/fleet/registry.py",
        where="Registrar._send",
        code='_Fenced if owned else NotOwnerYet("The instance id is not taken over yet.")',
        mutant='_Fenced if self._owns() else NotOwnerYet("The instance id is not taken over yet.")',
        without="a reply from before the takeover ends the process that has taken over",
        tests=("store/test_takeover.py::test_a_refusal_from_before_the_takeover_is_no_fence",),
    ),
    Mechanism(
        promise="bounds",
        name="a storm is coalesced",
        what="Registrations go out 500 a call, one call in flight.",
        file="store/fleet/registry.py",
        where="Registrar._attempt",
        code="islice(self._queue, BATCH)",
        mutant="islice(self._queue, 1)",
        without="ten thousand devices make ten thousand calls",
        tests=("store/test_registry_outages.py::test_registrations_that_wait_go_out_together",),
    ),
    Mechanism(
        promise="P1",
        name="a beat fences",
        what="The heartbeat of a process that was replaced tells it so.",
        file="store/scripts/heartbeat.lua",
        code="if act ~= 'take_over' and theirs then return 'FENCED' end",
        mutant="",
        without="two processes beat for one instance",
        tests=(
            "store/test_heartbeat.py::test_a_process_that_takes_the_id_by_force_has_it_and_the_older_one_is_told",
        ),
    ),
    Mechanism(
        promise="P1",
        name="a late takeover changes nothing",
        what="A process takes its instance id from the owner it has seen, and from no other.",
        file="store/scripts/heartbeat.lua",
        code="if act == 'take_over' and theirs and owner ~= ARGV[6] then return 'CHANGED' end",
        mutant="",
        without="a call that was held up on its way undoes the takeover of a later process",
        tests=("store/test_takeover.py::test_a_takeover_that_was_held_up_does_not_undo_a_later_one",),
    ),
    Mechanism(
        promise="P2",
        name="who beats is not displaced",
        what="A process takes its instance id from an owner that has not beaten since it was looked at.",
        file="store/scripts/heartbeat.lua",
        code="if act == 'take_over' and theirs and (redis.call('GET', heartbeat) or '') ~= ARGV[7] then return 'CHANGED' end",
        mutant="",
        without="a heartbeat between the last look and the take-over does not save a gateway that lives",
        tests=(
            "store/test_takeover.py::"
            "test_a_takeover_of_an_owner_that_has_beaten_since_it_was_looked_at_changes_nothing",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a living owner keeps its id",
        what="A starting process ends when the owner of its instance id shows a heartbeat.",
        file="store/fleet/ownership.py",
        where="Watch.judge",
        code="self._first is not None and self._first[:2] != seen[:2]",
        mutant="False",
        without="a second start by mistake ends the first process",
        tests=("store/test_ownership.py::test_an_owner_whose_heartbeat_changes_lives[later]",),
    ),
    Mechanism(
        promise="P2",
        name="an owner comes back first",
        what="After an outage an instance id that nobody owns is left for a moment to the process that had it.",
        file="store/fleet/ownership.py",
        where="Watch._is_given_up",
        code="not seen.boot and bool(was_owned or not self._outage)",
        mutant="not seen.boot",
        without="who started while Redis was away takes the id from a living gateway whose ownership has expired",
        tests=(
            "store/test_ownership.py::test_after_an_outage_the_id_of_nobody_is_left_to_an_owner_that_comes_back",
        ),
    ),
    Mechanism(
        promise="P2",
        name="an outage proves no death",
        what="The time without a heartbeat counts only while Redis answers.",
        file="store/fleet/heartbeat.py",
        where="Heartbeat.look",
        code="self._watch.restart()",
        mutant="",
        without="after an outage a start displaces a gateway that could not tell that it lives",
        tests=("store/test_takeover.py::test_a_look_that_fails_begins_the_time_without_a_heartbeat_anew",),
    ),
    Mechanism(
        promise="P2",
        name="only the same place proves",
        what="That a process has ended is concluded only where its socket would be seen.",
        file="transport/daemon/presence.py",
        where="is_gone",
        code="not holder.place or holder.place != place()",
        mutant="not holder.place",
        without="a gateway in another container counts as dead",
        tests=(
            "transport/test_presence.py::test_nothing_is_concluded_about_another_place[another kernel/1]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="known before it beats",
        what="An instance that shows that it is alive is on the list that janitors read.",
        file="store/scripts/heartbeat.lua",
        code="redis.call('HSET', instances, instance_id, stamp)",
        mutant="",
        without="after a Redis that came back empty its death goes unnoticed",
        tests=("store/test_heartbeat.py::test_a_beat_makes_a_forgotten_instance_known_again",),
    ),
    Mechanism(
        promise="P2",
        name="a heartbeat expires",
        what="A heartbeat that is not renewed goes.",
        file="store/scripts/heartbeat.lua",
        code="redis.call('SET', heartbeat, stamp, unit, ttl)",
        mutant="redis.call('SET', heartbeat, stamp)",
        without="the dead look alive",
        tests=("store/test_heartbeat.py::test_it_lives_ninety_seconds_and_not_a_millisecond_more",),
    ),
    Mechanism(
        promise="P2",
        name="a beat that failed is tried again",
        what="A beat that fails ends nothing; the next tick tries again.",
        file="store/fleet/heartbeat.py",
        where="Heartbeat.run",
        code="""
            self.renew_soon()
            self._on_failure(error)
        """,
        mutant="""
            self._on_failure(error)
            return
        """,
        without="the first failure is the last beat",
        tests=("store/test_takeover.py::test_a_beat_that_fails_is_not_the_last_one",),
    ),
    Mechanism(
        promise="P2",
        name="a takeover is made up for",
        what="A process that could not take its instance id over at the start does so with its first beat.",
        file="store/fleet/heartbeat.py",
        where="Heartbeat.renew",
        code="if not self.taken: ...",
        mutant="",
        without="a start while Redis is away never owns its instance id",
        tests=(
            "store/test_heartbeat.py::test_a_process_that_could_not_take_over_does_so_with_its_first_beat",
        ),
    ),
    Mechanism(
        promise="P2",
        name="only our own heartbeat is released",
        what="A process that ends deletes the heartbeat only while the instance id is its own.",
        file="store/scripts/heartbeat.lua",
        code="if act ~= 'take_over' and theirs then return 'FENCED' end",
        mutant="if act == 'beat' and theirs then return 'FENCED' end",
        without="it deletes that of its successor",
        tests=("store/test_heartbeat.py::test_release_leaves_a_newer_process_alone",),
    ),
    Mechanism(
        promise="bounds",
        name="ends that are kept are bounded",
        what="While Redis is away so many ends of sessions are kept.",
        file="store/fleet/registry.py",
        where="Registrar._fail",
        code="list(removals.values())[-RETAINED:]",
        mutant="removals.values()",
        without="a long outage keeps one for each connection there ever was",
        tests=(
            "store/test_registry_outages.py::test_of_the_ends_that_redis_has_not_heard_the_latest_are_kept",
        ),
    ),
    Mechanism(
        promise="P2",
        name="known before it is named",
        what="Whoever the registry names is on the list that janitors read.",
        file="store/scripts/registry.lua",
        code="if not known then be_known() end",
        mutant="",
        without="after a Redis that came back empty the death of a gateway goes unnoticed",
        tests=(
            "store/test_registry_outages.py::"
            "test_whoever_the_registry_names_is_known_to_the_janitors_even_when_redis_has_lost_all",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a release waits for the beat",
        what="A heartbeat that is released is not revived by a beat that was on its way.",
        file="store/fleet/heartbeat.py",
        where="Heartbeat._call",
        code="""
            async with self._calling:
                ...
        """,
        mutant="""
            if True:
                ...
        """,
        without="what is left waits for the heartbeat to expire",
        tests=("store/test_takeover.py::test_a_release_waits_for_the_beat_that_is_under_way",),
    ),
    Mechanism(
        promise="registry",
        name="who stops waiting ends nothing",
        what="A registration that nobody waits for any more is carried out all the same.",
        file="store/fleet/registry.py",
        where="Registrar._deferred.done",
        code="""
            if not outcome.done():
                ...
        """,
        mutant="...",
        without="a stop in the middle of telling the registry leaves the devices registered",
        tests=(
            (
                "store/test_registry_outages.py::"
                "test_who_stops_waiting_for_the_registry_ends_nobody_elses_registration"
            ),
        ),
    ),
)
