"""The verb of a command, the one word of its text that is published."""

from __future__ import annotations

import pytest

from fsm.verbs import verb_of


@pytest.mark.parametrize(
    ("payload", "verb"),
    [
        (b"getinfo", "getinfo"),
        (b"  setdigout 1 60", "setdigout"),
        (b"Setparam 2001:internet;2002:login;2003:s3cret", "setparam"),
        (b"odoset:1200", "odoset"),
    ],
)
def test_a_known_first_word_is_the_verb(payload: bytes, verb: str) -> None:
    assert verb_of(payload) == verb


@pytest.mark.parametrize(
    "payload", [b"login s3cret getinfo", b"s3cret", b"getinfos3cret", b"getinfo;x", b"#", b" "]
)
def test_no_other_word_is_published(payload: bytes) -> None:
    assert verb_of(payload) == ""
