"""The operator's policy: which rule decides about a text, and which files are no policy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm.command_policy import PolicyFault, pattern_of, read_policy

IMEI = "352093081452251"
EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.toml"


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("getinfo", ["getinfo", "getinfo  "], ["getinfo 1", "getinfox", "Getinfo", "x getinfo", ""]),
        ("getparam *", ["getparam 1", "getparam  1;2"], ["getparam", "getparam 1 2", "getparamx 1"]),
        ("setdigout ?? *", ["setdigout 1? 5", "setdigout 00 x"], ["setdigout 1 5", "setdigout 101 5"]),
        ("readio 1..99", ["readio 1", "readio 99", "readio 007"], ["readio 0", "readio 100", "readio x"]),
        ("setparam *2004:*", ["setparam 2004:x", "setparam 1:2;2004:y"], ["setparam 2005:x", "x 2004:"]),
        ("a*b*c", ["abc", "aXbYc", "abbcc"], ["ab", "acb", "a b c"]),
        ("get...", ["get..."], ["getinfo"]),
        ("get ...", ["get", "get ", "get 1 2"], ["getinfo"]),
        ("...", ["anything at all", "x"], []),
        ("a.b(c)", ["a.b(c)"], ["aXb(c)"]),
    ],
)
def test_a_pattern_matches_whole_texts(pattern: str, fitting: list[str], others: list[str]) -> None:
    found = pattern_of("r", pattern)
    assert [text for text in fitting if not found.matches(text)] == []
    assert [text for text in others if found.matches(text)] == []


@given(st.text("ab", max_size=12), st.text("ab*?", min_size=1, max_size=8))
def test_a_word_matches_as_by_trying_everything(text: str, word: str) -> None:
    def fits(at: int, place: int) -> bool:
        if place == len(word):
            return at == len(text)
        if word[place] == "*":
            return any(fits(later, place + 1) for later in range(at, len(text) + 1))
        return at < len(text) and word[place] in ("?", text[at]) and fits(at + 1, place + 1)

    assert pattern_of("r", word).matches(text) == fits(0, 0)


def test_no_text_takes_long() -> None:
    begin = time.process_time()
    for pattern in ("*a" * 200 + "b", "* " * 200 + "b", "1..9 " * 100 + "x", "*a*" * 100 + " ..."):
        pattern_of("r", pattern).matches("a" * 512)
        pattern_of("r", pattern).matches("a " * 256)
        pattern_of("r", pattern).matches("1 " * 255 + " ")
    assert time.process_time() - begin < 10  # an expression that tries everything takes for ever


RULES = """
default = "deny"
[[rule]]
name = "never"
deny = ["setparam *2004:*"]
[[rule]]
name = "output"
allow = ["setdigout ?? 1..60"]
families = ["FMB"]
devices = ["352093081452252"]
rate = "2/m"
[[rule]]
name = "rest"
allow = ["setparam ...", "getinfo"]
confirm = true
"""


@pytest.mark.parametrize(
    ("text", "families", "rule"),
    [
        ("getinfo", (), "rest"),
        ("  getinfo", (), "rest"),
        ("setparam 2004:x", (), "never"),
        ("setparam 1:1", (), "rest"),
        ("setdigout 1? 5", ("FMC130", "FMB"), "output"),
        ("setdigout 1? 5", ("FMx6",), "default"),
        ("setdigout 1? 61", ("FMB",), "default"),
        ("login pass getinfo", (), "default"),
    ],
)
def test_the_first_rule_that_fits_decides(text: str, families: tuple[str, ...], rule: str) -> None:
    assert read_policy(RULES, "p").rule_for(text.encode(), IMEI, families).name == rule


def test_a_rule_may_name_devices() -> None:
    policy = read_policy(RULES, "p")
    assert policy.rule_for(b"setdigout 11 5", "352093081452252", ("FTC",)).name == "output"


@pytest.mark.parametrize(("default", "allows"), [('default = "allow"', True), ("", False)])
def test_the_default_is_to_deny(default: str, allows: bool) -> None:
    assert read_policy(default, "p").rule_for(b"getinfo", IMEI, ()).allows is allows


RULE = '[[rule]]\nname = "r"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = ]", r"^policy.toml: is no TOML: .*line 1"),
        ("rules = []", "rules is not known"),
        ('default = "no"', "default is neither"),
        ("rule = 1", "no list"),
        ("[[rule]]\nallow = ['a']", "^policy.toml, rule 1: needs a name"),
        (f"{RULE}allow = ['a']\n[[rule]]\nname = 'default'\nallow = ['a']", "rule 2: needs a name"),
        (RULE, "rule r: needs either allow or deny"),
        (f"{RULE}allow = ['a']\ndeny = ['b']", "needs either allow or deny"),
        (f"{RULE}allow = []", "allow has not 1 to"),
        (f"{RULE}allow = 'a'", "allow is not a list"),
        (f"{RULE}allow = ['a  b']", "one blank"),
        (f"{RULE}allow = ['{'a' * 513}']", "one blank"),
        (f"{RULE}allow = ['\u00e9']", "one blank"),
        (f"{RULE}allow = ['a']\nconfirm = 1", "confirm is neither"),
        (f"{RULE}allow = ['a']\ntwo_persons = 'yes'", "two_persons is neither"),
        (f"{RULE}deny = ['a']\ntwo_persons = true", "are for allow"),
        (f"{RULE}allow = ['a']\nrate = '0/h'", "rate is not like"),
        (f"{RULE}allow = ['a']\nrate = '1001/h'", "rate is not like"),
        (f"{RULE}allow = ['a']\ndevices = ['1']", "is not 15 digits"),
        (f"{RULE}allow = ['a']\nfamily = ['FMB']", "family is not known"),
        (f"{RULE}deny = ['a']\nrate = '1/h'", "are for allow"),
        (f"{RULE}allow = ['a']\n{RULE}allow = ['b']", "two of this name"),
    ],
)
def test_a_file_that_is_no_policy_is_refused(text: str, problem: str) -> None:
    with pytest.raises(PolicyFault, match=problem):
        read_policy(text, "policy.toml")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("getinfo", "questions"),
        ("readio 239", "questions"),
        ("setdigout 1? 60 0 5 0", "output-at-low-speed"),
        ("setdigout 1? 60", "default"),
        ("setdigout 1? 60 0 50 0", "default"),
        ("setparam 1:2;2004:example.net", "no-other-server"),
        ("setparam 1000:5", "dangerous"),
        ("lvcanblockengine", "two-persons"),
        ("sdformat", "default"),
    ],
)
def test_the_example_does_what_it_says(text: str, rule: str) -> None:
    policy = read_policy(EXAMPLE.read_text(encoding="utf-8"), "policy.toml")
    assert policy.rule_for(text.encode(), "352093081452259", ("FMB120", "FMB")).name == rule


DANGEROUS = (
    *(
        "setparam 1:2",
        "flush 1,a,b,c,d,5,0",
        "cpureset",
        "deleterecords",
        "setigndigout 111 1 1 1",
        "defaultcfg",
    ),
    *("cleardigoutprio 11", "setkey a b", "delkey a", "sdformat", "web_connect", "odoset:1", "fc_reset"),
    *(
        "go2sleep",
        "btvisible 1",
        "cleardtc",
        "lvcansetprog 1",
        "lvcanclear 1",
        "lvcansetting:1,2",
        "resetprof",
    ),
    *("lvcanopenalldoors", "lvcanopentrunk", "lvcanhorn", "lvcanblockengine", "lvcanunblockengine"),
    *("mcan_cmd: 1", "resetlimits", "setdigout 11 5 5"),
)


@pytest.mark.parametrize("text", DANGEROUS)
def test_the_example_lets_nothing_dangerous_pass_unconfirmed(text: str) -> None:
    policy = read_policy(EXAMPLE.read_text(encoding="utf-8"), "policy.toml")
    for imei in ("352093081452259", "352093081452251"):
        rule = policy.rule_for(text.encode(), imei, ("FMB120", "FMB"))
        assert not rule.allows or rule.confirm or rule.two_persons
