"""Mechanisms of finding the server that takes the writes, behind sentinels and in a cluster."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P2",
        name="the newest configuration",
        what="Of sentinels that disagree, the one with the newest configuration is believed.",
        file="store/client/locator.py",
        where="Locator._ask_all",
        code="max(known, key=lambda answer: answer.weight)",
        mutant="min(known, key=lambda answer: answer.weight)",
        without="a sentinel that is cut off leads to a server whose writes will be lost",
        tests=("store/test_locator.py::test_the_sentinel_with_the_newest_configuration_is_believed",),
    ),
    Mechanism(
        promise="P1",
        name="the answer of a server that was replaced",
        what="What a server says that was replaced meanwhile is an error.",
        file="store/client/locator.py",
        where="LocatedConnection.read_response",
        code="not self._locator.trusts(self._peer)",
        mutant="False",
        without="a `sent` counts that will be lost",
        tests=(
            "store/test_locator.py::test_the_answer_of_a_server_that_was_replaced_meanwhile_is_not_believed",
        ),
    ),
    Mechanism(
        promise="P2",
        name="connections follow",
        what="A connection to a server that was replaced is closed before anything is sent on it.",
        file="store/client/locator.py",
        where="LocatedConnection.send_packed_command",
        code="self.is_connected and not await self._locator.confirms(self._peer)",
        mutant="False",
        without="idle connections keep writing to it",
        tests=(
            "store/test_locator.py::test_what_one_client_learns_moves_the_idle_connections_of_the_others",
        ),
    ),
    Mechanism(
        promise="P1",
        name="nothing before the answer",
        what="After a silence of three seconds nothing is sent before the sentinels were asked.",
        file="store/client/locator.py",
        where="Locator.confirms",
        code="age >= self.stale",
        mutant="False",
        without="a process that was frozen writes to a server that was replaced",
        tests=(
            "store/test_locator.py::"
            "test_after_a_long_silence_nothing_is_sent_before_the_sentinels_were_asked",
        ),
    ),
    Mechanism(
        promise="P2",
        name="keys are followed",
        what="A cluster's word that the keys are elsewhere is believed.",
        file="store/client/locator.py",
        where="LocatedConnection.read_response",
        code="self._locator.moved(_target(error, self._peer))",
        mutant="",
        without="every call goes to the node that has lost them",
        tests=("store/test_locator.py::test_keys_that_have_moved_are_followed_and_the_call_fails_once",),
    ),
    Mechanism(
        promise="P2",
        name="one slot",
        what="A cluster is used only with keys that lie in one slot.",
        file="store/client/url.py",
        where="RedisUrl.check_prefix",
        code="self.kind == CLUSTER and not _HASH_TAG.match(key_prefix)",
        mutant="False",
        without="no script can reach all of its keys",
        tests=("store/test_client.py::test_a_cluster_wants_a_prefix_that_keeps_keys_together",),
    ),
    Mechanism(
        promise="registry",
        name="a release is final",
        what="After a release there is no further beat.",
        file="store/fleet/heartbeat.py",
        where="Heartbeat.release",
        code="self.stop()",
        mutant="",
        without="a gateway that is gone looks alive for 90 s",
        tests=("store/test_heartbeat.py::test_after_its_release_a_heartbeat_beats_no_more",),
    ),
    Mechanism(
        promise="registry",
        name="a takeover looks again",
        what="An id that changes hands during the takeover is looked at again.",
        file="store/fleet/heartbeat.py",
        where="Heartbeat.take_over",
        code="range(TRIES)",
        mutant="range(1)",
        without="a start beside another fails to take over",
        tests=(
            ("store/test_heartbeat.py::test_an_id_that_changes_hands_during_the_takeover_is_looked_at_again"),
        ),
    ),
    Mechanism(
        promise="P2",
        name="a retention after the last sign of life",
        what="A dead instance is remembered for a retention after its last beat, not after its start.",
        file="store/scripts/heartbeat.lua",
        code="redis.call('HSET', instances, instance_id, stamp)",
        mutant="redis.call('HSETNX', instances, instance_id, stamp)",
        without="one that ran for a week is forgotten at once, and who writes to its stream hears nothing",
        tests=("store/test_heartbeat.py::test_every_beat_gives_ninety_seconds_more",),
    ),
    Mechanism(
        promise="registry",
        name="a late registration is settled",
        what="A registration of a process that owns nothing has janitors look at its instance again.",
        file="store/scripts/registry.lua",
        code="redis.call(owner and 'HSETNX' or 'HSET', instances, us, stamp)",
        mutant="redis.call('HSETNX', instances, us, stamp)",
        without="a call that was held up names a dead instance for good",
        tests=(
            "store/test_registry_outages.py::"
            "test_a_registration_that_nobody_owns_any_more_is_a_sign_of_life_that_janitors_have_not_seen"
            "[False]",
        ),
    ),
    Mechanism(
        promise="P5",
        name="who was there before",
        what="A process that takes an instance id over knows whether another may live on.",
        file="store/fleet/heartbeat.py",
        where="Heartbeat._take",
        code="self.displaced = (seen.holder, why)",
        mutant="",
        without="what the other takes in its last moments is overtaken",
        tests=(
            "store/test_heartbeat.py::"
            "test_who_replaces_a_process_knows_for_how_long_that_may_live_on[earlier-31.0]",
            "store/test_heartbeat.py::test_who_replaces_a_process_knows_it_although_the_reply_was_lost",
        ),
    ),
)
