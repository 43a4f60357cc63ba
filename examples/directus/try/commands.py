"""What becomes of the commands of people. `rows.PROOFS` has the proofs in the order of this file."""

from __future__ import annotations

import time
import urllib.error
from typing import Any

from rows import UNKNOWN, Row, ended, events, insert, insert_silent, proof, read
from stack import DISPATCHER, LATE, NORMAL, SECOND, SLEEPER, Stack, eventually

CANCEL = "6f0c1b1e-5e0a-4d0e-9f4b-7d3f6a2c9202"
CONFIRM = "6f0c1b1e-5e0a-4d0e-9f4b-7d3f6a2c9204"
SEND_AGAIN = "6f0c1b1e-5e0a-4d0e-9f4b-7d3f6a2c9203"


@proof("a command is answered")
def answered(stack: Stack) -> None:
    row = ended(stack, insert(stack, "getinfo"), "responded", delivery="answered", summary="Answered.")
    assert row["response"].startswith("RTC:")
    assert row["rtt_ms"] is not None
    assert row["finished_at"]
    assert row["last_seq"] == 3


@proof("a command with all options is answered")
def all_options(stack: Stack) -> None:
    first = insert(stack, "getver")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    options = {
        "codec": "14",
        "response_timeout": 7.5,
        "expect_response": True,
        "expires_at": at,
        "retry_of": first,
    }
    second = insert(stack, "getver", **options)
    ended(stack, second, "responded")
    [event] = events(stack, command_id=second, state="responded")
    assert (event["codec"], event["retry_of"]) == ("14", first)


@proof("without an expected answer a command is delivered")
def delivered(stack: Stack) -> None:
    key = insert_silent(stack, expect_response=False)
    ended(stack, key, "delivered", delivery="received", summary="The tracker has received it.")


@proof("a silent tracker: timeout, and the vehicle may have obeyed")
def silent(stack: Stack) -> None:
    row = ended(stack, insert_silent(stack, response_timeout=1), "timeout", reason="response_timeout")
    assert row["delivery"] in ("maybe_sent", "received")
    assert "may have obeyed" in row["summary"]


@proof("a late answer is kept beside the verdict")
def late(stack: Stack) -> None:
    key = insert(stack, "getinfo", LATE, response_timeout=1)
    ended(stack, key, "timeout", reason="response_timeout")
    answer = eventually("the late answer", lambda: read(stack, key)["late_response"], 15)
    assert answer.startswith("RTC:")
    assert read(stack, key)["state"] == "timeout"


@proof("an unknown device: not connected, nothing sent")
def unknown(stack: Stack) -> None:
    key = insert(stack, "getinfo", UNKNOWN)
    ended(stack, key, "failed", reason="device_not_connected", delivery="not_sent")
    assert events(stack, command_id=key) == []


@proof(
    "offline=wait: rows stay queued while their device sleeps, can be cancelled, and are sent when it wakes"
)
def offline(stack: Stack) -> None:
    keys = [insert(stack, text, SLEEPER, offline="wait") for text in ("getver", "getinfo", "getparam 7")]
    eventually("all are parked", lambda: all("parked" in notes(stack, key) for key in keys))
    assert [read(stack, key)["state"] for key in keys] == ["queued"] * 3
    stack.api("PATCH", f"/items/commands/{keys[0]}", {"cancel_requested": True}, DISPATCHER)
    ended(stack, keys[0], "failed", reason="cancelled", delivery="not_sent", offline="wait")
    stack.wake()
    for key in keys[1:]:
        ended(stack, key, "responded")
    sent = [event["command_id"] for event in events(stack, imei=str(SLEEPER), state="sent")]
    assert sent == keys[1:]


def notes(stack: Stack, key: str) -> list[str]:
    """The notes about a command."""
    return [entry["note"] for entry in events(stack, command_id=key) if entry["kind"] == "note"]


@proof("wrong rows are refused in the form, and a dispatcher cannot forge a result")
def refused(stack: Stack) -> None:
    wrong = [{"imei": "123"}, {"payload": "two\nlines"}, {"codec": "13"}, {"response_timeout": 4000}]
    good = {"imei": str(NORMAL), "payload": "getinfo"}
    for row in (*wrong, {"state": "responded"}):
        assert status(stack, "POST", "/items/commands", good | row) in (400, 403), row
    key = insert(stack, "getinfo")
    assert status(stack, "PATCH", f"/items/commands/{key}", {"response": "forged"}) == 403
    assert status(stack, "PATCH", f"/items/commands/{key}", {"cancel_requested": False}) == 403


@proof("a dangerous command needs a confirmation")
def confirmed(stack: Stack) -> None:
    refused = ended(
        stack, insert(stack, "deleterecords"), "failed", reason="not_allowed", delivery="not_sent"
    )
    assert refused["detail"] == "rule dangerous: confirm=1 is missing"
    ended(stack, insert(stack, "deleterecords", confirm=True), "responded")


@proof("a command of two persons waits for the second one, who is not the first")
def two_persons(stack: Stack) -> None:
    ended(stack, insert(stack, "defaultcfg"), "failed", reason="not_allowed")
    key = insert(stack, "defaultcfg", two_persons=True)
    cancelled = insert(stack, "defaultcfg", two_persons=True)
    ended(stack, insert(stack, "getinfo"), "responded")
    assert read(stack, key)["summary"] == "Waits until a second person has confirmed it."
    path = f"/items/commands/{key}"
    for body in ({"confirmed": True}, {"confirmed_by": None}, {"two_persons": False}):
        assert status(stack, "PATCH", path, body) == 403, body
    stack.api("PATCH", f"/items/commands/{cancelled}", {"cancel_requested": True}, DISPATCHER)
    ended(stack, cancelled, "failed", reason="cancelled", delivery="not_sent")
    assert events(stack, command_id=key) == []
    stack.api("POST", f"/flows/trigger/{CONFIRM}", {"collection": "commands", "keys": [key]}, SECOND)
    row = ended(stack, key, "responded")
    [sent] = events(stack, command_id=key, state="sent")
    assert (sent["requested_by"], sent["confirmed_by"]) == (row["user_created"], row["confirmed_by"])
    assert row["user_created"] != row["confirmed_by"]
    assert status(stack, "PATCH", path, {"confirmed": True}, SECOND) == 403


def status(stack: Stack, method: str, path: str, body: Any, who: dict[str, str] = DISPATCHER) -> int:
    """The status of a request that should be refused."""
    try:
        stack.api(method, path, body, who)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


@proof("the same command again is written to the device once")
def duplicate(stack: Stack) -> None:
    key = insert(stack, "getinfo")
    before = ended(stack, key, "responded")
    entry = {"command_id": key, "imei": str(NORMAL), "payload": "setdigout 1"}
    stack.redis.xadd(f"commands:outbound:{before['instance_id']}", entry)
    eventually("the note", lambda: events(stack, command_id=key, note="duplicate_ignored"))
    assert len(events(stack, command_id=key, state="sent")) == 1
    assert read(stack, key)["response"] == before["response"]


@proof("an answer of 480 characters is stored whole")
def long_answer(stack: Stack) -> None:
    text = "1:" + "x" * 480
    row = ended(stack, insert(stack, f"setparam {text}"), "responded")
    assert row["response"] == f"New value {text}"


@proof("40 rows of one batch are sent in their order, none as queue_full")
def batch(stack: Stack) -> None:
    rows = [{"imei": str(NORMAL + 1), "payload": f"getparam {number}"} for number in range(1, 41)]
    created = {row["payload"]: row["id"] for row in stack.api("POST", "/items/commands", rows, DISPATCHER)}
    keys = [created[row["payload"]] for row in rows]
    ended(stack, keys[-1], "responded", 60)
    sent = [event["command_id"] for event in events(stack, imei=str(NORMAL + 1), state="sent")]
    assert [keys.index(key) for key in sent] == list(range(40))
    for number, key in enumerate(keys, 1):
        ended(stack, key, "responded", response=f"Param ID:{number} Value:0")


@proof("a waiting command is cancelled by the button, a sent one is not")
def cancel(stack: Stack) -> None:
    first = insert(stack, "getinfo", LATE, response_timeout=20)
    second = insert(stack, "getver", LATE)
    eventually("the first is sent", lambda: read(stack, first)["state"] == "sent")
    eventually("the second waits", lambda: read(stack, second)["state"] == "queued")
    body = {"collection": "commands", "keys": [first, second]}
    stack.api("POST", f"/flows/trigger/{CANCEL}", body, DISPATCHER)
    ended(stack, second, "failed", reason="cancelled", delivery="not_sent")
    eventually("the refusal", lambda: "sent already" in (read(stack, first)["cancel_result"] or ""))
    ended(stack, first, "responded")
    stack.api("PATCH", f"/items/commands/{first}", {"cancel_requested": True}, DISPATCHER)
    eventually("the second refusal", lambda: "ended already" in (read(stack, first)["cancel_result"] or ""))


@proof("a command that was not sent is sent again by the button; one that may have obeyed only when told")
def again(stack: Stack) -> None:
    failed = insert(stack, "getinfo", UNKNOWN)
    ended(stack, failed, "failed")
    silent = insert_silent(stack, response_timeout=1)
    ended(stack, silent, "timeout")
    body: Row = {"collection": "commands", "keys": [failed, silent]}
    stack.api("POST", f"/flows/trigger/{SEND_AGAIN}", body, DISPATCHER)
    assert [row["payload"] for row in retries(stack, failed)] == ["getinfo"]
    assert retries(stack, silent) == []
    stack.api(
        "POST", f"/flows/trigger/{SEND_AGAIN}", body | {"keys": [silent], "also_obeyed": True}, DISPATCHER
    )
    assert len(retries(stack, silent)) == 1


def retries(stack: Stack, key: str) -> list[Row]:
    return list(stack.api("GET", f"/items/commands?filter[retry_of][_eq]={key}", who=DISPATCHER))
