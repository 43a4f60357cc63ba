"""Mechanisms that bound what is kept of devices, and keep it true."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="bounds",
        name="a device that never reported is forgotten",
        what="The status of a device of which nothing was stored is removed when it leaves.",
        file="store/scripts/device_status.lua",
        code="keep == 'no' and not last",
        mutant="false",
        without="everyone who invents IMEIs fills Redis",
        tests=(
            "contract/test_device_status.py::test_a_device_that_never_reported_is_forgotten_when_it_leaves",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="so many devices are known",
        what="The status of a new device is not kept when there are too many.",
        file="store/scripts/device_status.lua",
        code="old or room > 0",
        mutant="true",
        without="everyone who invents IMEIs fills Redis",
        tests=("contract/test_device_status.py::test_no_more_devices_are_kept_than_the_limit",),
    ),
    Mechanism(
        promise="registry",
        name="the newest session tells the status",
        what="The end of a session does not replace the status of a newer session elsewhere.",
        file="store/scripts/device_status.lua",
        code="old and is_newer(old, session, connected)",
        mutant="false",
        without="a device that has moved to another gateway is shown as closed",
        tests=("contract/test_device_status.py::test_a_session_that_is_over_does_not_replace_a_newer_one",),
    ),
    Mechanism(
        promise="faults",
        name="an end of a session that was not told may hide records",
        what="Where a session ended untold, records may have been stored after the last word about it.",
        file="store/scripts/device_status.lua",
        code='before and not old:find(\'"state":"closed"\', 1, true)',
        mutant="false",
        without="the last records before the death of a gateway are not found",
        tests=("contract/test_device_status.py::test_the_times_at_which_a_device_has_reported_are_kept",),
    ),
    Mechanism(
        promise="faults",
        name="what was told lately is not all",
        what="Records that were stored after the last word about a device are looked for.",
        file="fsm/device_status.py",
        where="DeviceStatus.may_have_records",
        code="spans.append((self.told_at - SLACK, self.told_at + self._untold(session_id)))",
        mutant="",
        without="the newest records of a device are not found",
        tests=("transport/test_cli_records.py::test_a_time_of_which_nobody_has_told_is_looked_at",),
    ),
    Mechanism(
        promise="faults",
        name="a time before what is kept is looked at",
        what="Where only the newest times with records are kept, all times before them count, too.",
        file="fsm/device_status.py",
        where="DeviceStatus.may_have_records",
        code="self.first_reported_at is not None and self.first_reported_at < first - SLACK",
        mutant="False",
        without="records of long ago are called missing",
        tests=("transport/test_cli_records.py::test_a_time_of_which_nobody_has_told_is_looked_at",),
    ),
)
