"""Mechanisms that take out of the registry what an earlier process of an instance left in it."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

FILE = "store/leftovers.py"
GONE, HERE = "356307042441013", "356307042441021"

MECHANISMS = (
    Mechanism(
        promise="registry",
        name="a crash leaves no device registered for good",
        what="A device of an earlier process that does not come back is taken out of the registry.",
        file="transport/daemon/gateway.py",
        text='        start("leftovers", backend.leftovers(self.hub.sessions.__contains__).run())\n',
        mutant="",
        without="after a restart within the heartbeat's time the registry names us for it for ever",
        tests=(
            "transport/test_gateway_order.py::"
            "test_everything_that_goes_on_beside_the_devices_is_begun_with_the_ledger_first",
        ),
    ),
    Mechanism(
        promise="registry",
        name="whoever is here stays",
        what="A device that has a session here keeps its entry.",
        file=FILE,
        text="            gone = [imei for imei in texts if not self._is_here(imei)]\n",
        mutant="            gone = texts\n",
        without="a device whose registration waits is asked about again and again",
        tests=(
            "store/test_leftovers.py::"
            f"test_of_devices_that_are_here_or_elsewhere_nothing_more_is_asked[{HERE}-gw-1]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="whoever has come meanwhile stays",
        what="A device that came while its old session was looked up keeps its entry.",
        file=FILE,
        text="            if not self._is_here(imei):\n",
        mutant="            if True:\n",
        without="a device that has just come is taken out of the registry",
        tests=(
            "store/test_leftovers.py::"
            "test_a_device_that_comes_back_while_its_session_is_looked_up_is_left_alone",
        ),
    ),
    Mechanism(
        promise="registry",
        name="only entries that name us",
        what="The devices of other instances are left to them.",
        file=FILE,
        text="        imeis = [imei for imei, holder in found.items() if holder == name]\n",
        mutant="        imeis = list(found)\n",
        without="the sessions of others are looked up, and their removal is asked for",
        tests=(
            "store/test_leftovers.py::"
            f"test_of_devices_that_are_here_or_elsewhere_nothing_more_is_asked[{GONE}-gw-2]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="the earlier session is closed in the log",
        what="The end of a session of an earlier process is published.",
        file=FILE,
        text="            self._on_closed(lost_session(session_id, imei, self._instance_id))\n",
        mutant="            pass\n",
        without="who follows the sessions believes the device connected",
        tests=(
            "store/test_leftovers.py::"
            "test_a_device_of_an_earlier_process_that_has_not_come_back_is_not_registered_any_more",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="a look that finds nothing is followed by fewer",
        what="While nothing is found the registry is looked through ever more seldom.",
        file=FILE,
        text="            pause = self._every if found else min(2 * pause, SELDOM)\n",
        mutant="            pass\n",
        without="a large registry is looked through by every instance every minute",
        tests=("store/test_leftovers.py::test_it_looks_ever_more_seldom_while_nothing_is_found",),
    ),
)
