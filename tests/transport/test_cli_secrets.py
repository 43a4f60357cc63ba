"""The URL of Redis and the text of a command: given where nobody looks on, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.transport.command_line import Telgw
from transport.cli.redis_file import exposed

IMEI = "352093081452251"
SECRET = "S3cret"
NOBODY = "127.0.0.1:1"
"""Where no server is."""


@pytest.fixture
def url_file(tmp_path: Path) -> Path:
    path = tmp_path / "redis-url"
    path.write_text(f"redis://:{SECRET}@{NOBODY}/0\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("verb", [("run",), ("check",), ("watch",), ("send", IMEI, "getinfo")])
@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}@{NOBODY}x",
        f"redis://user:a/{SECRET}@{NOBODY}",
        f"redis://user:a#{SECRET}@{NOBODY}",
        f"redis://user:a?{SECRET}@{NOBODY}",
        f"redis://{NOBODY}?ssl_password={SECRET}",
        f"rediss://{NOBODY}?ssl_{SECRET}=1",
        f"rediss://{NOBODY}?ssl_cert_reqs={SECRET}",
        f"redis+sentinel://user:{SECRET}@{NOBODY}",
        f"unix://user:{SECRET}/redis.sock",
        f"http://user:{SECRET}@{NOBODY}",
        f"user:{SECRET}@{NOBODY}",
    ],
)
def test_an_unusable_url_is_one_sentence_without_its_password(
    telgw: Telgw, verb: tuple[str, ...], url: str
) -> None:
    for result in (telgw(*verb, "--redis", url), telgw(*verb, env={"TELGW_REDIS": url})):
        assert result.exit_code == 2
        assert (result.stdout, result.stderr.count("\n")) == ("", 1)
        assert SECRET not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        f"redis://u:{SECRET}@h",
        f"redis://u:two {SECRET}@h",
        f"rediss://u:{SECRET}/",
        f"redis:/u:{SECRET}@h",
        f"redis//u:{SECRET}@h:6379/0",
        f"u:a@{SECRET}@h",
        f":{SECRET}@h",
    ],
)
def test_a_url_in_a_wrong_place_is_not_repeated(telgw: Telgw, words: str) -> None:
    for arguments in (
        *(("check", words), ("check", "--redis-file", words)),
        *(("run", "--instance-id", words), ("send", words, "getinfo")),
    ):
        result = telgw(*arguments)
        assert result.exit_code == 2
        assert SECRET not in result.output


def test_the_help_shows_no_value(telgw: Telgw, tmp_path: Path) -> None:
    config = tmp_path / "telgw.toml"
    config.write_text(f'redis = "redis://:{SECRET}@{NOBODY}"\n')
    result = telgw("check", "--config", config, "--help", env={"TELGW_REDIS": f"redis://:{SECRET}@{NOBODY}"})
    assert result.exit_code == 0
    assert SECRET not in result.output


@pytest.mark.parametrize("instead", ["nothing", "a pipe", "no certificate"])
def test_an_unusable_url_file_is_reported_before_the_start(
    telgw: Telgw, tmp_path: Path, instead: str
) -> None:
    authority = tmp_path / "ca.pem"
    if instead == "a pipe":
        os.mkfifo(authority)
    elif instead == "no certificate":
        authority.write_text("nothing of use")
    result = telgw("run", "--redis", f"rediss://:{SECRET}@{NOBODY}?ssl_ca_certs={authority}")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert str(authority) in result.stderr
    assert SECRET not in result.output


# --redis-file


def test_every_verb_takes_the_url_from_a_file(telgw: Telgw, url_file: Path) -> None:
    for verb in (("check",), ("watch",), ("history", "c-1"), ("cancel", "c-1"), ("send", IMEI, "getinfo")):
        for result in (
            telgw(*verb, "--redis-file", url_file),
            telgw(*verb, env={"TELGW_REDIS_FILE": str(url_file)}),
        ):
            assert NOBODY in result.stderr
            assert SECRET not in result.output


def test_the_setting_nearer_to_the_command_line_wins(telgw: Telgw, url_file: Path) -> None:
    other = "redis://127.0.0.2:1"
    assert NOBODY in telgw("check", "--redis-file", url_file, env={"TELGW_REDIS": other}).stderr
    assert "127.0.0.2" in telgw("check", "--redis", other, env={"TELGW_REDIS_FILE": str(url_file)}).stderr
    both = telgw("check", "--redis", other, "--redis-file", url_file)
    assert both.stderr == "telgw: --redis and --redis-file contradict each other: give one of them.\n"


@pytest.mark.parametrize(
    ("mode", "is_exposed"), [(0o440, False), (0o640, False), (0o660, True), (0o444, True)]
)
def test_a_file_of_another_owner_may_be_readable_for_a_group(
    url_file: Path, monkeypatch: pytest.MonkeyPatch, mode: int, is_exposed: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: url_file.stat().st_uid + 1)
    url_file.chmod(mode)
    assert exposed(url_file) == is_exposed


def test_a_file_that_others_may_read_is_warned_of(telgw: Telgw, url_file: Path) -> None:
    assert "chmod" not in telgw("check", "--redis-file", url_file).stderr
    url_file.chmod(0o640)
    result = telgw("check", "--redis-file", url_file)
    assert f"Other users may read {url_file}" in result.stderr
    assert NOBODY in result.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        f"redis://{NOBODY}\n{SECRET}\n".encode(),
        SECRET.encode() * 1000,
        b"\xff" + SECRET.encode(),
        f"http://{SECRET}".encode(),
        f"{SECRET}\x00".encode(),
    ],
)
def test_a_file_that_holds_no_url_is_one_sentence(telgw: Telgw, url_file: Path, content: bytes) -> None:
    url_file.write_bytes(content)
    result = telgw("check", "--redis-file", url_file)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert str(url_file) in result.stderr
    assert SECRET not in result.output
    os.unlink(url_file)
    assert "No such file" in telgw("check", "--redis-file", url_file).stderr


# send IMEI -


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"", "TEXT is empty"),
        (b"\n", "TEXT is empty"),
        (b"two\nlines\n", "TEXT has more than one line"),
        (f"{SECRET}\x00".encode(), "TEXT holds a character that is not printable ASCII"),
        (b"\xff" + SECRET.encode(), "TEXT is not UTF-8"),
        (SECRET.encode() * 20_000, "TEXT is longer than 64 KiB"),
    ],
)
def test_a_text_on_standard_input_that_is_no_command_is_refused(
    telgw: Telgw, given: bytes, sentence: str
) -> None:
    result = telgw("send", IMEI, "-", "--redis", f"redis://{NOBODY}", input=given)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert SECRET not in result.output
