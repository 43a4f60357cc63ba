"""Mechanisms of the script that moves commands."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="compare-and-set by seq",
        what="A step is taken only from the `seq` it was decided at.",
        file="store/scripts/moves.lua",
        code="local stands = seen.seq == event[place.seq] - 1 and seen",
        mutant="local stands = seen",
        without="a move is made twice where the numbers have gone on without it",
        tests=("contract/test_moves.py::test_a_step_from_where_the_command_is_not_conflicts[fake-seq-5]",),
    ),
    Mechanism(
        promise="P1",
        name="compare-and-set by state",
        what="A step is taken only from the state it was decided in.",
        file="store/scripts/moves.lua",
        code="event[place.seq] - 1 and seen.state == event[place.prev]",
        mutant="event[place.seq] - 1",
        without="an entry that another process has ended is sent by one that has just read it",
        tests=(
            "contract/test_moves.py::test_a_step_from_where_the_command_is_not_conflicts[fake-state-failed]",
        ),
    ),
    Mechanism(
        promise="P1",
        name="compare-and-set by owner",
        what="A step is taken only by the instance that owns the command.",
        file="store/scripts/moves.lua",
        code="return seen.instance == move.instance and",
        mutant="return",
        without="the entry id alone names the owner",
        tests=("contract/test_ownership.py::test_half_an_owner_moves_nothing[fake-the entry]",),
    ),
    Mechanism(
        promise="P1",
        name="compare-and-set by entry",
        what="A step is taken only for the entry that owns the command, not one from before a move.",
        file="store/scripts/moves.lua",
        code="return seen.instance == move.instance and seen.entry == move.entry end",
        mutant="return seen.instance == move.instance end",
        without="any entry of the instance moves the command",
        tests=("contract/test_ownership.py::test_half_an_owner_moves_nothing[fake-the instance]",),
    ),
    Mechanism(
        promise="P1",
        name="an id is used once",
        what="A second entry with a `command_id` that has a ledger is a duplicate.",
        file="store/scripts/moves.lua",
        code="local seen = redis.call('EXISTS', ledger) == 1 and read(ledger)",
        mutant="local seen = nil",
        without="it begins a new life, and is sent again",
        tests=(
            "contract/test_moves.py::test_another_entry_with_the_same_id_is_noted_once_and_removed[fake]",
        ),
    ),
    Mechanism(
        promise="P1",
        name="no ledger, no write",
        what="Without its ledger a command is not moved to `sent`.",
        file="store/scripts/moves.lua",
        code="if not seen and not move.ledger then return report('MISSING') end",
        mutant="move.ledger = move.ledger or {'instance_id', move.instance, 'outbound_id', move.entry}",
        without="a Redis that came back empty lets it be sent again",
        tests=(
            "contract/test_moves.py::test_a_step_without_a_ledger_is_refused_unless_it_may_recover[fake]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a step is taken once",
        what="A step that is repeated after a lost reply is known by its token.",
        file="store/scripts/moves.lua",
        code="""
            if seen.token == move.token then return report('ALREADY', seen, known) end
            local stands
        """,
        mutant="local stands",
        without="our own move is taken for another's",
        tests=("contract/test_moves.py::test_a_step_whose_reply_was_lost_is_taken_once[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a hand-over is made once",
        what="A hand-over that is repeated after a lost reply is known by its token.",
        file="store/scripts/moves.lua",
        code="if seen.token == move.token then return report('ALREADY', seen, seen.entry) end",
        mutant="",
        without="our own hand-over is taken for another's",
        tests=("contract/test_moves.py::test_a_command_is_handed_to_an_instance_that_is_alive[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="redelivery is recognised",
        what="The entry that began a command is answered with where the ledger stands.",
        file="store/scripts/moves.lua",
        code="if seen then return report(owns(move, seen) and 'REDELIVERED' or 'DUPLICATE', seen) end",
        mutant="if seen then return owns(move, seen) and 1 or report('DUPLICATE', seen) end",
        without="a restart takes a sent command for a new one",
        tests=("contract/test_moves.py::test_an_entry_that_was_begun_before_is_redelivered[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="pending until the outcome",
        what="An entry stays pending until the command's terminal event.",
        file="store/scripts/moves.lua",
        code="""
            if move.event[place.terminal] == '1' then
              redis.call('PEXPIRE', ledger, input.retention)
              remove(
        """,
        mutant="""
            if move.event[place.terminal] == '1' then redis.call('PEXPIRE', ledger, input.retention) end
            if true then
              remove(
        """,
        without="it is acknowledged when it is read: a crash forgets the command",
        tests=("contract/test_moves.py::test_the_pending_list_is_the_set_of_commands_in_flight[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="the device is still registered here",
        what="`sent` is refused while another living instance holds the device.",
        file="store/scripts/moves.lua",
        code="if holder and holder ~= instance and redis.call('EXISTS', heartbeat(holder)) == 1 then return holder end",
        mutant="if false then return holder end",
        without="a connection that was superseded elsewhere is written to",
        tests=(
            "contract/test_moves.py::"
            "test_sent_is_refused_if_a_live_instance_holds_the_device[fake-gw-2-True-HELD_ELSEWHERE-gw-2]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="a dead instance holds no device",
        what="A holder without a heartbeat does not keep a command from being sent.",
        file="store/scripts/moves.lua",
        code="if holder and holder ~= instance and redis.call('EXISTS', heartbeat(holder)) == 1 then return holder end",
        mutant="if holder and holder ~= instance then return holder end",
        without="the entry of a dead instance takes the device from us",
        tests=(
            "contract/test_moves.py::"
            "test_sent_is_refused_if_a_live_instance_holds_the_device[fake-gw-2-False-OK-]",
        ),
    ),
    Mechanism(
        promise="P1",
        name="hand-over by compare-and-set",
        what="A command is handed on only from the `seq` and entry it was decided at.",
        file="store/scripts/moves.lua",
        code="return seen.seq == move.seq and seen.state == move.prev and owns(move, seen)",
        mutant="return true",
        without="a command that is out is handed to another instance",
        tests=("contract/test_moves.py::test_a_command_that_is_out_is_not_handed_over[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="handed over to a living instance",
        what="A command is handed on only to an instance that has a heartbeat.",
        file="store/scripts/moves.lua",
        code="elseif redis.call('EXISTS', heartbeat(move.to)) == 0 then",
        mutant="elseif false then",
        without="it is put on the stream of a dead instance",
        tests=("contract/test_moves.py::test_a_command_is_handed_to_an_instance_that_is_alive[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="a hand-over changes the owner",
        what="The script that writes the new entry makes it the command's owner and removes the old one.",
        file="store/scripts/moves.lua",
        code="""
            redis.call('HSET', ledger, 'instance_id', move.to, 'outbound_id', entry, 'token', move.token, 'last', id,
              'hops', whole(seen.hops + 1), 'parked_id', move.instance == '' and move.entry or '')
        """,
        mutant="redis.call('HSET', ledger, 'last', id)",
        without="the old instance still owns it",
        tests=("contract/test_moves.py::test_a_command_is_handed_to_an_instance_that_is_alive[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="a process that was replaced is fenced",
        what="Every call names its boot id; a process whose instance id has a newer owner moves nothing.",
        file="store/scripts/moves.lua",
        code="if owner and owner ~= input.boot then return {now, 'FENCED'} end",
        mutant="",
        without="two processes decide for one instance",
        tests=("contract/test_moves.py::test_a_process_whose_instance_id_was_taken_over_does_nothing[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="heartbeat check in the adopter's moves",
        what="The script that adopts commands checks once more whether their instance is alive.",
        file="store/scripts/moves.lua",
        code="if input.dead and redis.call('EXISTS', heartbeat(input.dead)) == 1 then return {now, 'ALIVE'} end",
        mutant="",
        without="an instance that is back loses its commands",
        tests=("contract/test_moves.py::test_an_adopter_moves_nothing_of_an_instance_that_is_alive[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="no ledger, no hand-over",
        what="A command without a ledger is not handed on.",
        file="store/scripts/moves.lua",
        code="""
            if not seen then return report('MISSING') end
            if seen.token == move.token then return report('ALREADY', seen, seen.entry) end
        """,
        mutant="""
            if not seen then
              seen = {seq = move.seq, instance = move.instance, entry = move.entry}
              seen.token, seen.state, seen.session, seen.hops = '', move.prev, '', 0
            end
            if seen.token == move.token then return report('ALREADY', seen, seen.entry) end
        """,
        without="what was sent before Redis came back empty is sent elsewhere",
        tests=("contract/test_moves.py::test_a_command_without_a_ledger_is_not_handed_over[fake]",),
    ),
    Mechanism(
        promise="bounds",
        name="failed commands are removed in time",
        what="The ledger of a command that was given up expires.",
        file="store/scripts/moves.lua",
        code="""
            'instance_id', move.instance, 'outbound_id', move.entry)
              redis.call('PEXPIRE', ledger, input.retention)
        """,
        mutant="'instance_id', move.instance, 'outbound_id', move.entry)",
        without="it stays for ever",
        tests=("store/test_adoption.py::test_the_ledger_of_a_command_that_was_given_up_goes_in_time",),
    ),
    Mechanism(
        promise="P1",
        name="hand-over from the state it was decided in",
        what="A command is handed on only from the state it was decided in.",
        file="store/scripts/moves.lua",
        code="return seen.seq == move.seq and seen.state == move.prev and owns(move, seen)",
        mutant="return seen.seq == move.seq and owns(move, seen)",
        without="what another process has ended is handed on",
        tests=(
            "contract/test_ownership.py::"
            "test_a_command_is_not_handed_over_from_where_it_is_not[fake-state-failed]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a failure without a ledger is one move's",
        what="A dead letter that cannot be stored fails alone.",
        file="store/scripts/moves.lua",
        code="if ledger then broken[ledger] =",
        mutant="if true then broken[ledger] =",
        without="the whole call fails, and with it every command of this gateway, for good",
        tests=("redis/test_ledger.py::test_an_unstorable_dead_letter_delays_no_other_move[fake]",),
    ),
)
