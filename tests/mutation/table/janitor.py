"""Mechanisms of noticing the dead."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="a janitor never suspects itself",
        what="A janitor never checks its own instance.",
        file="store/fleet/janitor.py",
        where="Janitor.check",
        code="instance_id != self._instance_id",
        mutant="True",
        without="a process whose heartbeat was late gives its own commands away",
        tests=("store/test_janitor.py::test_our_own_id_is_never_suspected",),
    ),
    Mechanism(
        promise="P2",
        name="a heartbeat is missed twice",
        what="An instance is dead only when its heartbeat is missing again a grace later.",
        file="store/fleet/janitor.py",
        where="Janitor._check_instance",
        code="""
            self._suspects[instance_id] = now
            return
        """,
        mutant="self._suspects[instance_id] = now - self._settings.grace",
        without="one check is enough",
        tests=(
            "store/test_janitor.py::test_a_heartbeat_has_to_be_missing_twice_a_grace_apart",
            "store/test_janitor_rounds.py::test_without_a_grace_a_heartbeat_still_has_to_be_missing_twice",
        ),
    ),
    Mechanism(
        promise="P2",
        name="janitor grace",
        what="The grace lies between the two checks.",
        file="store/fleet/janitor.py",
        where="Janitor._check_instance",
        code="if now < self._suspects[instance_id] + self._settings.grace: ...",
        mutant="",
        without="the next check is enough, however soon",
        tests=("store/test_janitor.py::test_a_heartbeat_has_to_be_missing_twice_a_grace_apart",),
    ),
    Mechanism(
        promise="P2",
        name="both checks see the same server",
        what="A server process that was not seen before proves nothing.",
        file="store/fleet/janitor.py",
        where="Janitor._trusted",
        code="same and quiet and uptime >= self._settings.min_uptime",
        mutant="quiet and uptime >= self._settings.min_uptime",
        without="after a failover every heartbeat appears missing",
        tests=("store/test_janitor.py::test_another_server_process_proves_no_death_at_first",),
    ),
    Mechanism(
        promise="P2",
        name="no trouble of our own",
        what="A janitor whose own calls failed lately proves nothing.",
        file="store/fleet/janitor.py",
        where="Janitor._trusted",
        code="same and quiet and uptime >= self._settings.min_uptime",
        mutant="same and uptime >= self._settings.min_uptime",
        without="an outage makes the whole fleet appear dead",
        tests=("store/test_janitor.py::test_an_error_of_redis_proves_no_death_for_a_heartbeat_ttl",),
    ),
    Mechanism(
        promise="P2",
        name="a server that is old enough",
        what="A server younger than `--janitor-min-uptime` proves nothing.",
        file="store/fleet/janitor.py",
        where="Janitor._trusted",
        code="same and quiet and uptime >= self._settings.min_uptime",
        mutant="same and quiet",
        without="heartbeats that expired while it loaded are deaths",
        tests=("store/test_janitor.py::test_a_young_server_proves_nothing",),
    ),
    Mechanism(
        promise="P2",
        name="errors clear suspicions",
        what="When a call fails, all suspicions begin anew.",
        file="store/fleet/janitor.py",
        where="Janitor.trouble",
        code="self._clear_all()",
        mutant="",
        without="what was seen before the outage counts after it",
        tests=("store/test_janitor.py::test_trouble_in_the_middle_of_a_round_spares_the_rest",),
    ),
    Mechanism(
        promise="P2",
        name="a stream that fills is adopted again",
        what="A dead instance is adopted every round while its stream is not empty.",
        file="store/fleet/janitor.py",
        where="Janitor._check_instance",
        code="not adopted or await self._client.xlen(self._keys.outbound(instance_id))",
        mutant="not adopted",
        without="a command that comes after its death has no outcome",
        tests=("store/test_janitor.py::test_dead_instances_are_adopted_again_while_entries_come",),
    ),
    Mechanism(
        promise="P2",
        name="a failed adoption does not stop the others",
        what="An adoption that fails does not stop the others.",
        file="store/fleet/janitor.py",
        where="Janitor._check_safely",
        code="""
            if is_transient(error): ...
            self._on_error(error)
        """,
        mutant="raise",
        without="one broken entry keeps every dead instance without adoption",
        tests=("store/test_janitor_rounds.py::test_one_adoption_that_fails_does_not_hold_up_the_others",),
    ),
    Mechanism(
        promise="P1",
        name="heartbeat check when registrations are removed",
        what="The script that removes registry entries checks once more whether their instance is alive.",
        file="store/scripts/remove_registrations.lua",
        code="if redis.call('EXISTS', KEYS[3]) == 1 then return 'ALIVE' end",
        mutant="",
        without="an instance that is back loses its devices",
        tests=("redis/test_adoption_races.py::test_of_an_instance_that_is_back_nothing_is_touched[fake]",),
    ),
    Mechanism(
        promise="registry",
        name="a device of another instance stays registered",
        what="Only entries that still name the dead instance are removed.",
        file="store/scripts/remove_registrations.lua",
        code="if redis.call('HGET', KEYS[1], imei) == ARGV[1] then",
        mutant="if true then",
        without="a device that has just gone elsewhere vanishes from the registry",
        tests=("redis/test_adoption.py::test_a_device_registered_elsewhere_keeps_its_entry[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="no instance with a heartbeat is forgotten",
        what="The script that forgets an instance checks once more whether it is alive.",
        file="store/scripts/forget.lua",
        code="if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('XLEN', KEYS[3]) > 0 then return 0 end",
        mutant="if redis.call('XLEN', KEYS[3]) > 0 then return 0 end",
        without="a living instance is no longer watched",
        tests=("store/test_janitor.py::test_what_happens_at_the_last_moment_keeps_an_instance_known",),
    ),
    Mechanism(
        promise="P2",
        name="no instance with commands is forgotten",
        what="The script that forgets an instance checks once more whether its stream is empty.",
        file="store/scripts/forget.lua",
        code="if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('XLEN', KEYS[3]) > 0 then return 0 end",
        mutant="if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end",
        without="its last commands are deleted",
        tests=("store/test_janitor.py::test_what_happens_at_the_last_moment_keeps_an_instance_known",),
    ),
    Mechanism(
        promise="P2",
        name="a heartbeat that returns clears the suspicion",
        what="An instance that is seen alive is suspected anew from the beginning.",
        file="store/fleet/janitor.py",
        where="Janitor._check_instance",
        code="if await self._client.exists(self._keys.heartbeat(instance_id)): ...",
        mutant="""
            if await self._client.exists(self._keys.heartbeat(instance_id)):
                return
        """,
        without="two misses, weeks apart, make a death",
        tests=("store/test_janitor.py::test_a_heartbeat_that_returns_clears_the_suspicion",),
    ),
    Mechanism(
        promise="P2",
        name="an instance that wakes up gets a new suspicion",
        what="An instance that came back while it was adopted is no longer dead.",
        file="store/fleet/janitor.py",
        where="Janitor._check_instance",
        code="""
            try:
                ...
            except Alive:
                self._clear(instance_id)
                return
        """,
        mutant="""
            try:
                ...
            except Alive:
                return
        """,
        without="it is adopted at its next missed heartbeat, without a grace",
        tests=("store/test_janitor.py::test_an_instance_back_during_adoption_is_suspected_anew",),
    ),
    Mechanism(
        promise="P2",
        name="forgotten when it is old",
        what="An instance is forgotten when it is older than the retention.",
        file="store/fleet/janitor.py",
        where="Janitor._check_instance",
        code="self._now_ms() - started > self._settings.retention * 1000",
        mutant="True",
        without="what producers still send to it is never answered",
        tests=("store/test_janitor.py::test_an_instance_older_than_the_retention_is_forgotten",),
    ),
    Mechanism(
        promise="P2",
        name="an instance that restarted unseen",
        what="An instance that has started and died again since its adoption is adopted again.",
        file="store/fleet/janitor.py",
        where="Janitor._check_instance",
        code="self._dead.setdefault(instance_id, _NOT_YET) == started",
        mutant="self._dead.setdefault(instance_id, _NOT_YET) != _NOT_YET",
        without="the devices of its second life stay in the registry",
        tests=("store/test_janitor.py::test_an_instance_that_restarted_unseen_is_adopted_again",),
    ),
    Mechanism(
        promise="security",
        name="numbers have a limit",
        what="A number in Redis that is longer than 64 bits is none.",
        file="store/client/numbers.py",
        where="whole",
        code="text.isdigit() and text.isascii() and len(text) <= LONGEST",
        mutant="text.isdigit() and text.isascii()",
        without="a long number ends the janitor of every instance",
        tests=("store/test_numbers.py::test_anything_else_is_none",),
    ),
    Mechanism(
        promise="P2",
        name="a suspect's grace has its own timer",
        what="A janitor checks again when a grace is over, not at its next round.",
        file="store/fleet/janitor.py",
        where="Janitor._due_times",
        code="[since + grace for name, since in self._suspects.items() if name not in self._dead]",
        mutant="[]",
        without="commands of the dead wait a round longer than is promised",
        tests=("store/test_janitor_rounds.py::test_the_next_round_is_at_the_end_of_the_first_grace",),
    ),
    Mechanism(
        promise="registry",
        name="an adoption is cleared with its suspicion",
        what="Of an instance that is back no adoption counts any more.",
        file="store/fleet/janitor.py",
        where="Janitor._clear",
        code="self._dead.pop(instance_id, None)",
        mutant="",
        without="devices that it held before it died again stay registered",
        tests=(("store/test_janitor.py::test_an_instance_back_after_adoption_is_adopted_again"),),
    ),
    Mechanism(
        promise="faults",
        name="an adoption during errors does not count",
        what="An adoption during errors is repeated.",
        file="store/fleet/janitor.py",
        where="Janitor._check_instance",
        code="""
            if instance_id in self._dead:
                ...
        """,
        mutant="...",
        without="what could not be seen then is never checked again",
        tests=("store/test_janitor.py::test_an_adoption_during_errors_does_not_count",),
    ),
)
