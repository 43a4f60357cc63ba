"""Mechanisms that take out of the registry what an earlier process of an instance left in it."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

FILE = "store/fleet/stale_registrations.py"
GONE, HERE = "356307042441013", "356307042441021"

MECHANISMS = (
    Mechanism(
        promise="registry",
        name="a crash leaves no device registered for good",
        what="A device of an earlier process that does not come back is taken out of the registry.",
        file="transport/daemon/gateway.py",
        where="Gateway._begin",
        code='start("stale registrations", backend.stale_registrations(self.sessions.by_imei.__contains__).run)',
        mutant="",
        without="after a restart within the heartbeat's time the registry names us for it for ever",
        tests=("transport/test_gateway_order.py::test_all_tasks_are_started_with_the_ledger_first",),
    ),
    Mechanism(
        promise="registry",
        name="a connected device stays registered",
        what="A device that has a session here keeps its entry.",
        file=FILE,
        where="StaleRegistrations.remove_stale",
        code="[imei for imei in texts if not self._is_here(imei)]",
        mutant="texts",
        without="a device whose registration waits is asked about again and again",
        tests=(
            "store/test_stale_registrations.py::"
            f"test_connected_and_foreign_devices_need_no_more_calls[{HERE}-gw-1]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="a device that connected meanwhile stays registered",
        what="A device that came while its old session was looked up keeps its entry.",
        file=FILE,
        where="StaleRegistrations._remove",
        code="not self._is_here(imei)",
        mutant="True",
        without="a device that has just come is taken out of the registry",
        tests=("store/test_stale_registrations.py::test_a_device_back_during_the_look_up_keeps_its_entry",),
    ),
    Mechanism(
        promise="registry",
        name="only entries of this instance",
        what="The devices of other instances are left to them.",
        file=FILE,
        where="held_by",
        code="[imei for imei, holder in found.items() if holder == name]",
        mutant="list(found)",
        without="the sessions of others are looked up, and their removal is asked for",
        tests=(
            "store/test_stale_registrations.py::"
            f"test_connected_and_foreign_devices_need_no_more_calls[{GONE}-gw-2]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="the earlier session is closed in the log",
        what="The end of a session of an earlier process is published.",
        file=FILE,
        where="StaleRegistrations._removed",
        code="self._on_closed(lost_session(session_id, imei, self._instance_id))",
        mutant="",
        without="a consumer of session events believes the device connected",
        tests=("store/test_stale_registrations.py::test_a_stale_registration_is_removed",),
    ),
    Mechanism(
        promise="P2",
        name="a stream without a reader is found",
        what="`telgw check` also checks the streams of names that no gateway ever had.",
        file="store/diagnosis/instances.py",
        where="_Reader.instances",
        code="listed | held.keys() | addressed",
        mutant="listed | held.keys()",
        without="commands to a name that is misspelt wait unseen",
        tests=("store/test_diagnosis.py::test_commands_for_a_name_that_no_gateway_ever_had_are_found",),
    ),
    Mechanism(
        promise="P2",
        name="a prefix is no pattern",
        what="Streams are matched by the literal key prefix.",
        file="store/diagnosis/instances.py",
        where="_Reader._addressed",
        code="_literal(prefix)",
        mutant="prefix",
        without="a check takes the streams of another fleet for its own, and misses its own",
        tests=("store/test_diagnosis.py::test_streams_of_other_fleets_are_none_of_ours",),
    ),
)
