"""The alarms of `deploy/prometheus`: what each of them fires at, on a real `promtool`, and what they name."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rig.code_calls import ROOT
from tests.rig.promql import is_exposed, known_labels, labels_in, names_in

RULES = ROOT / "deploy" / "prometheus" / "telgw.rules.yaml"
ALARMS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
FAULT = 60
"""The minute of a test in which something goes wrong."""
TO_THE_END = 75
"""Minutes from then to the end of the test."""


def always(value: float, per_minute: float = 0) -> str:
    """A series that begins with `value` and grows all the time."""
    return f"{value}+{per_minute}x{FAULT + TO_THE_END}"


def then(before: float, after: float, per_minute: float = 0) -> str:
    """A series that stands still until the fault, and then begins with `after` and grows."""
    return f"{before}+0x{FAULT - 1} {after}+{per_minute}x{TO_THE_END}"


GATEWAY = 'instance="gw-1",job="telgw"'
HEALTHY = {
    f"up{{{GATEWAY}}}": always(1),
    f"process_start_time_seconds{{{GATEWAY}}}": always(1e9),
    f"process_cpu_seconds_total{{{GATEWAY}}}": always(0, 30),
    f"process_open_fds{{{GATEWAY}}}": always(1000),
    f"process_max_fds{{{GATEWAY}}}": always(65536),
    **{
        f"teltonika_{name}{{{GATEWAY}}}": always(value)
        for name, value in {
            "ready": 1,
            "redis_up": 1,
            "worker_up": 1,
            "sessions": 1000,
            "heartbeat_age_seconds": 20,
            "oldest_queued_seconds": 5,
            "telemetry_pending_bytes": 4000,
            "commands_held": 20,
            "loop_stall_seconds": 0.01,
            "tls_expiry_timestamp_seconds": 90 * 86400,
            "adoptions_total": 3,
            "deadletters_total": 3,
        }.items()
    },
    f'teltonika_build_info{{{GATEWAY},version="1.0"}}': always(1),
    f"teltonika_records_total{{{GATEWAY}}}": always(0, 6000),
    f'teltonika_redis_call_seconds_bucket{{{GATEWAY},part="ledger",le="0.1"}}': always(0, 600),
    f'teltonika_redis_call_seconds_bucket{{{GATEWAY},part="ledger",le="0.25"}}': always(0, 600),
    f'teltonika_redis_call_seconds_bucket{{{GATEWAY},part="ledger",le="+Inf"}}': always(0, 600),
    f'teltonika_command_events_total{{{GATEWAY},state="sent"}}': always(0, 60),
    f'teltonika_command_events_total{{{GATEWAY},state="responded"}}': always(0, 50),
    f'teltonika_command_events_total{{{GATEWAY},state="failed"}}': always(0, 10),
}
"""A gateway that works: a thousand devices, a command a second of which a sixth fails."""


def counts(name: str, per_minute: float = 1, **labels: str) -> dict[str, str]:
    """A counter that begins to rise."""
    text = ",".join([GATEWAY, *(f'{label}="{value}"' for label, value in labels.items())])
    return {f"teltonika_{name}_total{{{text}}}": then(0, 0, per_minute)}


def reads(name: str, after: float, per_minute: float = 0) -> dict[str, str]:
    """A gauge of the healthy gateway that changes."""
    key = f"{name}{{{GATEWAY}}}"
    return {key: then(float(HEALTHY[key].partition("+")[0]), after, per_minute)}


FAULTS: dict[str, dict[str, str]] = {
    "TelgwDown": reads("up", 0),
    "TelgwNotReady": reads("teltonika_ready", 0),
    "TelgwWorkerDown": reads("teltonika_worker_up", 0),
    "TelgwRestarts": reads("process_start_time_seconds", 2e9, 60),
    "TelgwTaskFailed": counts("task_failures", task="reader"),
    "TelgwDied": counts("instances_lost"),
    "TelgwBusy": {f"process_cpu_seconds_total{{{GATEWAY}}}": then(0, 0, 58)},
    "TelgwFewFilesLeft": reads("process_open_fds", 65000),
    "TelgwLogLinesDropped": counts("log_lines_dropped"),
    "TelgwVersionsDiffer": {f'teltonika_build_info{{{GATEWAY},version="1.1"}}': then(1, 1)},
    "TelgwRedisDown": reads("teltonika_redis_up", 0),
    "TelgwRedisErrors": counts("store_errors", part="ledger", error="OOM"),
    "TelgwRedisSlow": {
        f'teltonika_redis_call_seconds_bucket{{{GATEWAY},part="ledger",le="0.1"}}': always(0, 500),
    },
    "TelgwHeartbeatOld": reads("teltonika_heartbeat_age_seconds", 61),
    "TelgwTelemetryWaits": reads("teltonika_telemetry_pending_bytes", 2e6),
    "TelgwTrimmedUnread": counts("responses_trimmed_unread"),
    "TelgwMessagesLost": counts("device_messages_lost"),
    "TelgwRegistrationsFail": counts("registry_failures"),
    "TelgwDevicesGone": reads("teltonika_sessions", 600),
    "TelgwNoRecords": {f"teltonika_records_total{{{GATEWAY}}}": always(6000)},
    "TelgwTurnedAway": counts("connections_turned_away"),
    "TelgwFramesTooLong": counts("frames_too_long"),
    "TelgwUndecodable": counts("undecodable_frames"),
    "TelgwCommandsWait": reads("teltonika_oldest_queued_seconds", 301),
    "TelgwCommandsFail": {
        f'teltonika_command_events_total{{{GATEWAY},state="failed"}}': then(0, 0, 100),
    },
    "TelgwCommandsAtLimit": reads("teltonika_commands_held", 9500),
    "TelgwDeadLetters": counts("deadletters"),
    "TelgwEntriesLost": counts("outbound_entries_lost"),
    "TelgwTwoOwners": counts("ledger_refusals", status="CONFLICT"),
    "TelgwLateAnswers": counts("taints", per_minute=10),
    "TelgwCertificateExpires": reads("teltonika_tls_expiry_timestamp_seconds", 13 * 86400),
    "TelgwIdentityDisputed": counts("disputes"),
    "TelgwPlainRefused": counts("plain_refused"),
    "TelgwOverBudget": counts("over_budget", per_minute=20, budget="connection-rate"),
    "TelgwDevicesRefused": counts("devices_refused", per_minute=5, reason="not_listed"),
}


SHORT = {"TelgwRedisDown", "TelgwTaskFailed", "TelgwDevicesGone"}
"""Alarms that are always tried."""


def fired(series: dict[str, str], alarms: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What promtool says of the claim that exactly these alarms fire at some time."""
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool: Debian has it in its package prometheus")
    ever = f'count_over_time(ALERTS{{alertstate="firing"}}[{FAULT + TO_THE_END}m])'
    claim = {
        "expr": f"group by (alertname) ({ever})",
        "eval_time": f"{FAULT + TO_THE_END - 1}m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in alarms],
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [claim],
    }
    file = folder / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]})
    )
    return subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)


def test_a_healthy_gateway_raises_no_alarm(tmp_path: Path) -> None:
    found = fired(HEALTHY, [], tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    "alarm", [pytest.param(name, marks=() if name in SHORT else pytest.mark.full) for name in ALARMS]
)
def test_a_fault_raises_its_alarm_and_no_other(alarm: str, tmp_path: Path) -> None:
    found = fired(HEALTHY | FAULTS[alarm], [alarm], tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr


# What the alarms name


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_names_metrics_and_labels_of_the_code(alarm: str) -> None:
    expression = ALARMS[alarm]["expr"]
    assert names_in(expression)
    assert [name for name in names_in(expression) if not is_exposed(name)] == []
    assert labels_in(expression) - known_labels() == set()


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_says_what_to_do_and_where_to_read_on(alarm: str) -> None:
    texts = ALARMS[alarm]["annotations"]
    assert set(texts) == {"summary", "description", "runbook"}
    assert ALARMS[alarm]["labels"]["severity"] in ("critical", "warning", "info")
    page, _, anchor = texts["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_the_page_lists_the_alarms() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("<!-- alarms:begin -->")[2].partition("<!-- alarms:end -->")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE))
    assert listed == {name: rule["labels"]["severity"] for name, rule in ALARMS.items()}
