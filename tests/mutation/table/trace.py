"""Mechanisms of what the script keeps, writes and removes."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P2",
        name="a duplicate is answered",
        what="An entry whose id is taken is noted and removed.",
        file="store/ledger/ledger.py",
        where="Ledger.execute",
        code="await self._call(duplicates, self._ask)",
        mutant="",
        without="it stays pending, and nobody learns of it",
        tests=(
            "contract/test_moves.py::test_another_entry_with_the_same_id_is_noted_once_and_removed[fake]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a duplicate in the queue is answered",
        what="So is one whose opening has waited for Redis.",
        file="store/ledger/ledger.py",
        where="Ledger._carry_out",
        code="self._queue.put(duplicate)",
        mutant="",
        without="it stays pending, and nobody learns of it",
        tests=("redis/test_ledger.py::test_a_duplicate_in_the_queue_is_noted_and_removed[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="the outcome removes the entry",
        what="The script that stores the outcome acknowledges and deletes the entry.",
        file="store/scripts/moves.lua",
        code="""
            remove(move.instance, move.entry, move.device)
              end
              if move.remove then remove_others(move) end
            end
        """,
        mutant="""
            end
              if move.remove then remove_others(move) end
            end
        """,
        without="finished commands stay pending",
        tests=("contract/test_moves.py::test_a_terminal_step_removes_the_entry_and_sets_the_expiry[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a cancel leaves with its command",
        what="The step that calls a command off removes the cancel's own entry too.",
        file="store/scripts/moves.lua",
        code="""
            if move.remove then remove_others(move) end
            end

            local function is_listed
        """,
        mutant="""
            end

            local function is_listed
        """,
        without="the cancel stays pending",
        tests=("contract/test_moves.py::test_a_step_takes_other_entries_with_it[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="the ledger outlives its command",
        what="A ledger is kept for the retention after the end of its command.",
        file="store/scripts/moves.lua",
        code="""
            redis.call('PEXPIRE', ledger, input.retention)
            remove(
        """,
        mutant="""
            redis.call('DEL', ledger)
            remove(
        """,
        without="the same id is sent again at once",
        tests=("contract/test_moves.py::test_a_terminal_step_removes_the_entry_and_sets_the_expiry[fake]",),
    ),
    Mechanism(
        promise="bounds",
        name="ledgers go",
        what="The ledger of a finished command goes after the retention.",
        file="store/scripts/moves.lua",
        code="""
            redis.call('PEXPIRE', ledger, input.retention)
            remove(
        """,
        mutant="remove(",
        without="ledgers stay for ever",
        tests=("contract/test_moves.py::test_a_terminal_step_removes_the_entry_and_sets_the_expiry[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a bad ledger does not stop the others",
        what="Each move of a call fails alone.",
        file="store/scripts/moves.lua",
        code="if not result then done, result = pcall(act[move.act], move, ledger) end",
        mutant="if not result then done, result = true, act[move.act](move, ledger) end",
        without="one key of another type stops every command of the call",
        tests=("contract/test_moves.py::test_an_error_on_one_key_does_not_stop_the_others[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a move fails with the move before it",
        what="A step that builds on a move of the same call which failed fails as that one did.",
        file="store/scripts/moves.lua",
        code="if ledger then broken[ledger] = tostring(result) end",
        mutant="",
        without="it finds its ledger missing and ends the command as lost",
        tests=(
            "redis/test_ledger_batches.py::"
            "test_what_builds_on_a_begin_that_found_no_memory_waits_with_it[valkey]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="the log is written first",
        what="Of a move, the write that memory pressure can refuse comes first.",
        file="store/scripts/moves.lua",
        code="local id = append_event(event, accepted)",
        mutant="""
            redis.call('HSET', ledger, 'state', event[place.state], 'seq', event[place.seq], 'token', move.token)
            local id = append_event(event, accepted)
        """,
        without="a refused move leaves a ledger without its event",
        tests=(
            "contract/test_ownership.py::test_a_log_that_takes_nothing_leaves_everything_as_it_was[fake]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a note is written once",
        what="A note that answers an entry is written only while that lies on the stream.",
        file="store/scripts/moves.lua",
        code="if move.remove and not is_listed(unpack(move.remove[1])) then return report('ALREADY') end",
        mutant="",
        without="every repetition adds a note",
        tests=("contract/test_moves.py::test_a_note_that_answers_an_entry_is_written_once[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a dead letter is written once",
        what="An entry is given up only while it lies on the stream.",
        file="store/scripts/moves.lua",
        code="if not is_listed(move.instance, move.entry, move.device) then return report('ALREADY') end",
        mutant="",
        without="every repetition adds a letter and its events",
        tests=("contract/test_moves.py::test_a_dead_letter_is_written_once[fake]",),
    ),
    Mechanism(
        promise="bounds",
        name="dead letters are capped",
        what="The dead-letter stream keeps so many entries and no more.",
        file="store/scripts/moves.lua",
        code="redis.pcall('XADD', deadletter, 'MAXLEN', '~', input.maxlen, '*', unpack(move.fields))",
        mutant="redis.pcall('XADD', deadletter, '*', unpack(move.fields))",
        without="it grows for ever",
        tests=("contract/test_ownership.py::test_dead_letters_are_capped[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a command that cannot be stored is ended",
        what="A command that cannot be stored leaves no ledger that appears alive.",
        file="store/scripts/moves.lua",
        code="if last then bury(move, ledger, last) end",
        mutant="",
        without="its ledger says `queued` for ever",
        tests=("redis/test_ledger_batches.py::test_an_entry_that_is_given_up_ends_its_ledger[fake]",),
    ),
    Mechanism(
        promise="bounds",
        name="a note makes no ledger",
        what="A note is listed in the ledger of its command only if there is one.",
        file="store/scripts/moves.lua",
        code="if ledger and redis.call('EXISTS', ledger) == 1 then",
        mutant="if ledger then",
        without="a cancel of an unknown id makes a ledger that never ends",
        tests=("contract/test_events.py::test_a_note_about_no_command_makes_no_ledger[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="an age counts from the first acceptance",
        what="A command that was moved keeps the time at which a gateway first took it.",
        file="store/scripts/moves.lua",
        code="seen and seen.accepted or move.accepted",
        mutant="move.accepted",
        without="its age begins anew at every move",
        tests=("contract/test_events.py::test_a_moved_command_keeps_its_age",),
    ),
    Mechanism(
        promise="P2",
        name="acknowledged",
        what="An entry that is answered is acknowledged.",
        file="store/scripts/moves.lua",
        code="redis.call('XACK', outbound(instance), input.group, id)",
        mutant="",
        without="it stays pending under our name",
        tests=("contract/test_moves.py::test_a_terminal_step_removes_the_entry_and_sets_the_expiry[fake]",),
    ),
    Mechanism(
        promise="bounds",
        name="deleted",
        what="An entry that is answered is deleted: the stream is as long as its backlog.",
        file="store/scripts/moves.lua",
        code="redis.call('XDEL', outbound(instance), id)",
        mutant="",
        without="streams grow for ever, and a group made anew reads all of it again",
        tests=("contract/test_moves.py::test_a_terminal_step_removes_the_entry_and_sets_the_expiry[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="a key that is no ledger is left alone",
        what="A command that is given up because its key is of another type does not touch that key.",
        file="store/scripts/moves.lua",
        code="if type(found) ~= 'number' then return end",
        mutant="",
        without="it cannot even be given up",
        tests=("contract/test_ownership.py::test_a_key_that_is_no_ledger_ends_its_command_and_stays[fake]",),
    ),
    Mechanism(
        promise="P2",
        name="no event without its ledger",
        what="An event whose ledger cannot be written is taken back.",
        file="store/scripts/moves.lua",
        code="redis.call('XDEL', responses, id)",
        mutant="",
        without="while a right is missing every try publishes the event once more",
        tests=("contract/test_ownership.py::test_an_event_whose_ledger_is_refused_has_not_happened[fake]",),
    ),
    Mechanism(
        promise="P1",
        name="a command that could not be stored is known",
        what="A command that is given up without a ledger gets one.",
        file="store/scripts/moves.lua",
        code="if found == 0 then",
        mutant="""
            if found == 0 then
              return
            elseif false then
        """,
        without="its id, asked again, counts as new: it is written after an outcome that it was not",
        tests=("contract/test_ownership.py::test_the_id_of_a_command_given_up_cannot_be_used_again[fake]",),
    ),
)
