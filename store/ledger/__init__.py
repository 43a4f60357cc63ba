"""The ledger: the state of each command, changed by compare-and-set, each change atomic with its event.

Owns the hashes ``commands:state:{command_id}`` and every append to ``commands:responses`` that changes one.
It calls `client`, `keys` and the encoding of events in `streams`; the script is ``scripts/moves.lua``.

Invariant: a move is carried out once, and only if the command is where the move expects it (its seq, state
and owner). Each move carries a token, so a batch whose outcome is unknown is sent again as it was, and the
script answers ALREADY for what it has done. The script compares; which moves are legal, `fsm` alone knows.
"""
