"""The verbs of commands: the one thing of a text that is published.

A text can hold a password, so no word of it is repeated that is not a command of Teltonika's own lists (the
wiki's GPRS and SMS commands of the FMB, FMC and FMM families): such a name is no secret.
"""

from __future__ import annotations

import re

_LIST = """
    allcanmode allver auto_calibrate banlist battery bbinfo bbread braminfo btgetlist btgscan
    btrelease btscan btunpair btvisible cleardigoutprio cleardtc countrecs cpureset crashlog
    defaultcfg delete_all_sms deleterecords delkey faultcodes fc_reset flush fwstats getcfgtime
    getgnss getgps getimeiccid getimsi getinfo getio getlimits getnmeainfo getops getparam getrecord
    getstatus getver getvin getweektime ggps go2sleep lvcanblockengine lvcancheck lvcanclear
    lvcanclosealldoors lvcanfaultcodes lvcangetinfo lvcangetprog lvcanhorn lvcanmode
    lvcanopenalldoors lvcanopentrunk lvcansetprog lvcansetting lvcansimpletacho lvcanturninglights
    lvcanunblockengine mcan_cmd obdinfo odoget odoset on_demand_tracking readio readops resetlimits
    resetprof scanfms sdformat setdigout setigndigout setkey setparam sn tacho_connect towingreact
    wdlog web_connect
"""
VERBS = frozenset(_LIST.split())

_FIRST_WORD = re.compile(rb" *([a-z0-9_]{2,24})(?=[ :]|$)", re.IGNORECASE)


def verb_of(payload: bytes) -> str:
    """The verb of a command's text, in lower case; empty if its first word is none that is known.

    Leading blanks stand for an empty login and password. A verb may end with a colon, before its value.
    """
    found = _FIRST_WORD.match(payload)
    word = found[1].decode().lower() if found else ""
    return word if word in VERBS else ""
