"""The files of `deploy/`, as far as they can be checked without the machines that they are for."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.rig.rights import rules

DEPLOY = Path(__file__).parents[1] / "deploy"
UNITS = [DEPLOY / "telgw.service", DEPLOY / "telgw@.service"]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
WORST = 25
"""Ten times the exposure level that `systemd-analyze security` may find; 100 is a service without limits."""
OFFLINE = 250
"""The version of systemd from which a unit can be verified without being installed."""


def version(program: str) -> int:
    """The version of systemd."""
    words = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return int(words[1])


def analyzer() -> str:
    """The program that verifies units without installing them."""
    program = shutil.which("systemd-analyze")
    if program is None or version(program) < OFFLINE:
        pytest.skip("there is no systemd-analyze that verifies files")
    return program


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_leaves_the_service_few_rights(unit: Path) -> None:
    words = [analyzer(), "security", "--offline=true", f"--threshold={WORST}", str(unit)]
    verified = subprocess.run(words, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_each_line_of_a_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text(encoding="utf-8").replace("/opt/telgw/.venv/bin/telgw", "/bin/true"))
    words = [analyzer(), "verify", "--man=no", str(here)]
    verified = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "WatchdogSec=30",
        "Environment=TELGW_REDIS_FILE=%d/redis",
        "UMask=0077",
        "LimitCORE=0",
    ],
)
def test_a_unit_watches_the_gateway_and_keeps_secrets_from_others(unit: Path, line: str) -> None:
    assert line in unit.read_text(encoding="utf-8").splitlines()


def test_the_template_is_the_unit_with_names_of_instances() -> None:
    def lines(unit: Path) -> list[str]:
        text = re.sub(r"[/-]%i\b|@%i|@| %i", "", unit.read_text(encoding="utf-8"))
        return [line for line in text.splitlines() if not line.startswith("#")]

    assert lines(UNITS[1]) == lines(UNITS[0])
    files = re.findall(r"^(?!#).*(/(?:etc|var)/\S*)", UNITS[1].read_text(encoding="utf-8"), re.MULTILINE)
    assert len(files) >= 4
    assert [file for file in files if "%i" not in file] == []


# Containers


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_rights_that_it_does_not_need(service: str) -> None:
    given = SERVICES[service]
    assert (given["read_only"], given["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in given["security_opt"]
    assert re.fullmatch(r"999:999|\$\{TELGW_UID:-10001\}:\$\{TELGW_GID:-10001\}", given["user"])
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & given.keys()
    assert given["healthcheck"] if service == "redis" else "HEALTHCHECK" in DOCKERFILE


def test_images_of_others_are_named_by_their_digest() -> None:
    built = [service["image"] for service in SERVICES.values() if "build" not in service]
    bases = re.findall(r"^ARG \w+_IMAGE=(.+)$", DOCKERFILE, re.MULTILINE)
    assert (len(built), len(bases)) == (1, 1)
    assert [image for image in built + bases if not re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image)] == []


def test_only_containers_reach_redis() -> None:
    assert "ports" not in SERVICES["redis"]
    assert [COMPOSE["networks"][name] for name in SERVICES["redis"]["networks"]] == [{"internal": True}]


def test_redis_keeps_its_data_and_leaves_the_host_memory() -> None:
    words = SERVICES["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert (options["--appendonly"], options["--maxmemory-policy"]) == ("yes", "noeviction")
    assert options["--maxmemory"] not in ("", "0")


def test_metrics_are_published_on_this_host_only() -> None:
    ports = {port.rpartition(":")[2]: port for port in SERVICES["gateway"]["ports"]}
    assert ports["9464"].startswith("127.0.0.1:")


def test_passwords_come_in_files() -> None:
    assert {word for service in SERVICES.values() for word in service["secrets"]} == set(COMPOSE["secrets"])
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    written = yaml.safe_dump(SERVICES).replace("--pass health", "")
    assert re.search(r"requirepass|redis://|password|--pass\b", written, re.IGNORECASE) is None


def test_the_image_has_only_packages_of_the_lock_and_no_root() -> None:
    installs = re.findall(r"pip install ([^&\n]*)", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in words or "--no-deps --no-index" in words for words in installs)
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What deploy/secrets.sh makes."""
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets", ".env"))
    (tmp_path / "docs").mkdir()
    shutil.copy(DEPLOY.parent / "docs" / "contract.md", tmp_path / "docs")
    subprocess.run([tmp_path / "deploy" / "secrets.sh"], check=True, capture_output=True)
    return tmp_path / "deploy" / "secrets"


def test_each_secret_is_for_its_owner_only(secrets: Path) -> None:
    users = (secrets / "users.acl").read_text(encoding="utf-8")
    for role in rules():
        file = secrets / role
        url = file.read_text(encoding="utf-8").strip()
        password = url.partition("@")[0].rpartition(":")[2]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (len(password), password in users) == (64, False)


@pytest.mark.redis
def test_redis_takes_the_users_that_the_script_makes(secrets: Path, embedded_server: Any) -> None:
    names = []
    with Redis(port=embedded_server.port, protocol=2) as server:
        for line in (secrets / "users.acl").read_text(encoding="utf-8").splitlines():
            name, *words = line.split()[1:]
            if name != "default":
                server.execute_command("ACL", "SETUSER", name, *words)  # type: ignore[no-untyped-call]
                names.append(name)
        for role in rules():
            url = (secrets / role).read_text(encoding="utf-8").strip()
            here = url.replace("redis:6379", f"127.0.0.1:{embedded_server.port}")
            with Redis.from_url(here, protocol=2) as client:
                assert client.ping()
            forged = re.sub(r":\w{64}@", ":wrong@", here)
            with Redis.from_url(forged, protocol=2) as stranger, pytest.raises(AuthenticationError):
                stranger.ping()
        server.acl_deluser(*names)
    assert len(names) == len(rules()) + 1


def test_what_is_there_is_kept(secrets: Path) -> None:
    before = {file.name: file.read_bytes() for file in secrets.iterdir()}
    subprocess.run([secrets.parent / "secrets.sh"], check=True, capture_output=True)
    assert {file.name: file.read_bytes() for file in secrets.iterdir()} == before
