"""Mechanisms of the queue in front of the script."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P2",
        name="moves wait for Redis",
        what="A batch whose outcome is unknown stays at the head of the queue and is sent again.",
        file="store/ledger/ledger.py",
        text=(
            "            self.healthy = False\n            self._on_error(error)\n            return False\n"
        ),
        mutant=(
            "            self.healthy = False\n"
            "            self._on_error(error)\n"
            "            self._queue.clear()\n"
            "            return False\n"
        ),
        without="a lost call is a lost verdict",
        tests=("store/test_ledger_queue.py::test_a_move_waits_for_redis_and_is_made_then",),
    ),
    Mechanism(
        promise="P2",
        name="every move has a token",
        what="A move that is repeated carries the token it had the first time.",
        file="store/ledger/ledger.py",
        text=(
            "            if not isinstance(move, Remark | Discard) and not move.token:\n"
            "                move.token = self.token()\n"
            "        self._queue.extend(moves)"
        ),
        mutant="            pass\n        self._queue.extend(moves)",
        without="every move looks like every other",
        tests=(
            "redis/test_ledger.py::test_a_call_that_failed_is_made_again_with_one_effect[fake-reply lost]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a refused command is tried five times",
        what="An error that concerns one command is tried again, later, while others go on.",
        file="store/ledger/ledger.py",
        text="                if tries < TRIES:\n",
        mutant="                if False:\n",
        without="it is given up at once",
        tests=("redis/test_ledger.py::test_a_command_that_becomes_storable_meanwhile_is_stored[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a full Redis is waited out",
        what="A move that is refused for want of memory is sent again until there is some.",
        file="store/ledger/ledger.py",
        text="                if is_transient(error):\n",
        mutant="                if False:\n",
        without="commands are given up because Redis is full",
        tests=(
            "store/test_ledger_queue.py::"
            "test_a_server_without_memory_is_waited_out_and_nothing_new_is_read_meanwhile",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a receiver's failure is its own",
        what="A receiver that fails does not cost the others of its batch their results.",
        file="store/ledger/ledger.py",
        text="        except Exception as error:\n            self._on_error(error)\n",
        mutant="        except ZeroDivisionError as error:\n            self._on_error(error)\n",
        without="the ledger ends",
        tests=("store/test_ledger_queue.py::test_a_receiver_that_fails_costs_nobody_else_his_result",),
    ),
    Mechanism(
        promise="P2",
        name="a begin and its step stay together",
        what="A batch is not cut between a command's own moves.",
        file="store/ledger/ledger.py",
        text=(
            "            follows = batch and isinstance(move, Step) and command_of(move) == "
            "command_of(batch[-1])\n"
        ),
        mutant="            follows = False\n",
        without="`sent` may arrive in a call after that of `queued`",
        tests=("redis/test_ledger_batches.py::test_a_begin_and_what_builds_on_it_are_never_parted[fake]",),
    ),
    Mechanism(
        promise="bounds",
        name="a call is bounded",
        what="One call carries 100 moves or 256 KiB: a server that is busy is away for everybody.",
        file="store/ledger/ledger.py",
        text="if not follows and batch and (len(batch) >= BATCH or size > BATCH_BYTES):",
        mutant="if not follows and batch and len(batch) >= BATCH:",
        without="a hundred huge entries make one call",
        tests=(
            "redis/test_ledger_batches.py::test_huge_entries_do_not_keep_an_innocent_command_waiting[fake]",
        ),
    ),
    Mechanism(
        promise="P1",
        name="a fenced ledger stops",
        what="A process that is told that it was replaced carries out nothing more, and ends.",
        file="store/ledger/ledger.py",
        text="            self.stop()\n            self._on_fenced()\n",
        mutant="            pass\n",
        without="it goes on trying",
        tests=(
            "store/test_ledger_queue.py::"
            "test_a_process_that_was_replaced_is_told_and_carries_out_nothing_more",
        ),
    ),
    Mechanism(
        promise="P2",
        name="not the owner yet",
        what=(
            "A process that has not taken its instance id over yet waits, and does not end, "
            "when it is fenced."
        ),
        file="store/ledger/ledger.py",
        text="            if not owned:\n",
        mutant="            if False:\n",
        without="a start while Redis is away ends the process when Redis is back",
        tests=("store/test_ledger_queue.py::test_before_the_takeover_an_earlier_owner_is_waited_out",),
    ),
    Mechanism(
        promise="P2",
        name="an old refusal says nothing",
        what="Who owned the instance id is looked at before a call and not after it.",
        file="store/ledger/ledger.py",
        text="            if not owned:\n",
        mutant="            if not self._owns():\n",
        without="a reply from before the takeover ends the process that has taken over",
        tests=("store/test_ledger_queue.py::test_a_refusal_from_before_the_takeover_is_no_fence",),
    ),
    Mechanism(
        promise="P2",
        name="trouble stops the reader",
        what="While the ledger cannot be written nothing new is read.",
        file="store/ledger/ledger.py",
        text="        self.healthy = not again\n",
        mutant="        self.healthy = True\n",
        without="commands pile up in a gateway that can do nothing for them",
        tests=(
            "store/test_ledger_queue.py::"
            "test_a_server_without_memory_is_waited_out_and_nothing_new_is_read_meanwhile",
        ),
    ),
    Mechanism(
        promise="P5",
        name="refused moves keep their order",
        what="Moves that are repeated go out in the order they came in.",
        file="store/ledger/ledger.py",
        text="        self._queue.extendleft(reversed(again))\n",
        mutant="        self._queue.extendleft(again)\n",
        without="the last of them is first",
        tests=("store/test_ledger_queue.py::test_moves_that_are_refused_together_are_made_in_their_order",),
    ),
    Mechanism(
        promise="P2",
        name="a ledger that cannot be reached is not healthy",
        what="A call that failed keeps new entries from being read.",
        file="store/ledger/ledger.py",
        text="            self.healthy = False\n            self._on_error(error)\n",
        mutant="            self._on_error(error)\n",
        without="commands pile up in a gateway that can do nothing for them",
        tests=("store/test_ledger_queue.py::test_a_move_waits_for_redis_and_is_made_then",),
    ),
    Mechanism(
        promise="bounds",
        name="a hundred moves a call",
        what="One call carries a hundred commands at most.",
        file="store/ledger/ledger.py",
        text="if not follows and batch and (len(batch) >= BATCH or size > BATCH_BYTES):",
        mutant="if not follows and batch and size > BATCH_BYTES:",
        without="thousands go out in one script",
        tests=("redis/test_ledger.py::test_moves_of_many_commands_go_out_a_hundred_a_call[fake]",),
    ),
    Mechanism(
        promise="bounds",
        name="a flush has a bound",
        what="The last moves are waited for only so long.",
        file="store/ledger/ledger.py",
        text="            async with asyncio.timeout(within):\n                await self._idle.wait()",
        mutant="            if True:\n                await self._idle.wait()",
        without="a gateway never ends while Redis is away",
        tests=("store/test_queues.py::test_what_cannot_be_saved_is_waited_for_only_so_long[ledger]",),
    ),
    Mechanism(
        promise="bounds",
        name="calls that fail are followed by a wait",
        what="Between two calls that fail there is a wait.",
        file="store/ledger/ledger.py",
        text="                await self._backoff.wait(self._stop)",
        mutant="                await asyncio.sleep(0)",
        without="Redis is called without end while it is away",
        tests=(
            (
                "store/test_queues.py::"
                "test_between_calls_that_fail_there_is_a_wait_and_the_first_that_does_not_ends_them[ledger]"
            ),
        ),
    ),
    Mechanism(
        promise="P2",
        name="tries are forgotten",
        what="The tries of a move are forgotten with it.",
        file="store/ledger/ledger.py",
        text="                self._tries.pop(id(move), None)\n",
        mutant="                pass\n",
        without="a later move at its place in memory is given up too soon",
        tests=("store/test_queues.py::test_the_tries_of_a_move_are_forgotten_with_it[4-OK]",),
    ),
)
