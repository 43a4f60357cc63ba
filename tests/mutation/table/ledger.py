"""Mechanisms of the queue in front of the script."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P2",
        name="moves wait for Redis",
        what="A batch whose outcome is unknown stays at the head of the queue and is sent again.",
        file="store/client/batch_queue.py",
        where="BatchQueue._give_back",
        code="self._buffer.put_back(self._batch)",
        mutant="",
        without="a lost call is a lost outcome",
        tests=(
            "store/test_ledger_queue.py::test_a_move_waits_for_redis_and_is_made_then",
            "store/test_batch_queue.py::test_a_batch_of_unknown_outcome_is_sent_again_first",
        ),
    ),
    Mechanism(
        promise="P2",
        name="every move has a token",
        what="A move that is repeated carries the token it had the first time.",
        file="store/ledger/ledger.py",
        where="Ledger._name",
        code="if not isinstance(move, _WITHOUT_TOKEN) and not move.token: ...",
        mutant="",
        without="every move is taken for every other",
        tests=(
            "redis/test_ledger.py::test_a_call_that_failed_is_made_again_with_one_effect[fake-reply lost]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a refused command is tried five times",
        what="An error that concerns one command is tried again, later, while others go on.",
        file="store/ledger/ledger.py",
        where="Ledger._try_again",
        code="return tries < TRIES",
        mutant="return False",
        without="it is given up at once",
        tests=("redis/test_ledger.py::test_a_command_that_becomes_storable_is_stored[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="moves wait for a full Redis",
        what="A move that is refused for want of memory is sent again until there is some.",
        file="store/ledger/ledger.py",
        where="Ledger._carry_out",
        code="is_transient(error)",
        mutant="False",
        without="commands are given up because Redis is full",
        tests=("store/test_ledger_queue.py::test_without_memory_moves_wait_and_nothing_new_is_read",),
    ),
    Mechanism(
        promise="P2",
        name="a failed receiver does not stop the others",
        what="A receiver that fails does not cost the others of its batch their results.",
        file="store/ledger/ledger.py",
        where="Ledger._tell",
        code="""
            try:
                ...
            except Exception as error:
                self._on_error(error)
        """,
        mutant="""
            try:
                ...
            except ZeroDivisionError as error:
                self._on_error(error)
        """,
        without="the ledger ends",
        tests=("store/test_ledger_queue.py::test_a_failing_receiver_costs_no_other_its_result",),
    ),
    Mechanism(
        promise="P2",
        name="a begin and its step stay together",
        what="A batch is not cut between a command's own moves.",
        file="store/ledger/ledger.py",
        where="_builds_on",
        code="return isinstance(move, Step) and command_of(move) == command_of(before)",
        mutant="return False",
        without="`sent` may arrive in a call after that of `queued`",
        tests=("redis/test_ledger_batches.py::test_a_begin_and_what_builds_on_it_are_never_parted[fake]",),
    ),
    Mechanism(
        promise="bounds",
        name="a call is bounded",
        what="One call carries 100 moves or 256 KiB: a server that is busy is away for everybody.",
        file="store/ledger/ledger.py",
        where="Ledger.__init__",
        code="size=BATCH_BYTES",
        mutant="size=1 << 40",
        without="a hundred huge entries make one call",
        tests=("redis/test_ledger_batches.py::test_huge_entries_do_not_delay_another_command[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="a fenced ledger stops",
        what="A process that is told that it was replaced carries out nothing more, and ends.",
        file="store/ledger/ledger.py",
        where="Ledger._call",
        code="""
            self.stop()
            self._on_fenced()
        """,
        mutant="pass",
        without="it goes on trying",
        tests=("store/test_ledger_queue.py::test_a_replaced_process_is_fenced_and_makes_no_move",),
    ),
    Mechanism(
        promise="P2",
        name="not the owner yet",
        what=(
            "A process that has not taken its instance id over yet waits, and does not end, "
            "when it is fenced."
        ),
        file="store/ledger/ledger.py",
        where="Ledger._call",
        code="""
            if not owned:
                ...
        """,
        mutant="""
            if False:
                ...
        """,
        without="a start while Redis is away ends the process when Redis is back",
        tests=("store/test_ledger_queue.py::test_before_the_takeover_an_earlier_owner_is_waited_out",),
    ),
    Mechanism(
        promise="P2",
        name="an old refusal is ignored",
        what="The owner of the instance id is read before a call and not after it.",
        file="store/ledger/ledger.py",
        where="Ledger._call",
        code="""
            if not owned:
                ...
        """,
        mutant="""
            if not self._owns():
                ...
        """,
        without="a reply from before the takeover ends the process that has taken over",
        tests=("store/test_ledger_queue.py::test_a_refusal_from_before_the_takeover_is_no_fence",),
    ),
    Mechanism(
        promise="P2",
        name="errors stop the reader",
        what="While the ledger cannot be written nothing new is read.",
        file="store/ledger/ledger.py",
        where="Ledger._carry_out",
        code="return transient",
        mutant="return None",
        without="commands pile up in a gateway that can do nothing for them",
        tests=("store/test_ledger_queue.py::test_without_memory_moves_wait_and_nothing_new_is_read",),
    ),
    Mechanism(
        promise="P5",
        name="refused moves keep their order",
        what="Moves that are repeated go out in the order they came in.",
        file="store/client/fifo.py",
        where="Fifo.put_back",
        code="reversed(list(items))",
        mutant="items",
        without="the last of them is first",
        tests=("store/test_ledger_queue.py::test_moves_refused_together_are_made_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="a ledger that cannot be reached is not healthy",
        what="A call that failed keeps new entries from being read.",
        file="store/client/batch_queue.py",
        where="BatchQueue._send_batches",
        code="self.healthy = False",
        mutant="",
        without="commands pile up in a gateway that can do nothing for them",
        tests=("store/test_ledger_queue.py::test_a_move_waits_for_redis_and_is_made_then",),
    ),
    Mechanism(
        promise="bounds",
        name="a flush has a bound",
        what="What waits for Redis is waited for only so long when a gateway ends.",
        file="store/client/batch_queue.py",
        where="BatchQueue.flush",
        code="asyncio.timeout(within)",
        mutant="asyncio.timeout(None)",
        without="a gateway never ends while Redis is away",
        tests=("store/test_batch_queue.py::test_a_flush_waits_so_long_and_says_what_is_left",),
    ),
    Mechanism(
        promise="bounds",
        name="calls that fail are followed by a wait",
        what="Between two calls that fail there is a wait.",
        file="store/client/batch_queue.py",
        where="BatchQueue._send_batches",
        code="await self._backoff.wait(self._stop)",
        mutant="await asyncio.sleep(0)",
        without="Redis is called without end while it is away",
        tests=("store/test_batch_queue.py::test_a_delay_follows_each_call_that_fails_until_one_succeeds",),
    ),
    Mechanism(
        promise="P2",
        name="tries are forgotten",
        what="The tries of a move are forgotten with it.",
        file="store/ledger/ledger.py",
        where="Ledger._carry_out",
        code="self._tries.pop(id(move), None)",
        mutant="",
        without="a later move at its place in memory is given up too soon",
        tests=("store/test_ledger_queue.py::test_the_tries_of_a_move_are_forgotten_with_it[4-OK]",),
    ),
)
