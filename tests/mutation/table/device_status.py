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
)
