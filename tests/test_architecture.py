"""Who may import whom, and how files may be called: read from the source, so it cannot be argued with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("fsm", "transport", "store")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

IMPURE = {"asyncio", "redis", "structlog", "logging", "socket", "time", "random", "os", "store", "transport"}
DOOR = "fsm/machine.py"
MESSAGES = {"store/streams/messages.py", "store/streams/record_data.py"}
"""Where the classes of messages are."""
WIRING = ("transport/daemon.py", "transport/daemon/", "transport/cli/")
UNFOUND_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
LINES = 300
ONE_CLASS = {
    "transport/connection/protocol.py": 715,
    "transport/commands/in_flight.py": 360,
    "transport/commands/dispatcher.py": 350,
    "fsm/policies.py": 330,
    "transport/daemon/backend.py": 350,
    "transport/daemon/gateway.py": 320,
}
"""Files that are longer, because they hold one class or one table that cannot be divided; and their
lengths at most."""
SHARED = {
    "clock",
    "log_throttle",
    "console_lines",
    "garbage",
    "log_writer",
    "logs",
    "metrics",
    "ports",
    "restarts",
    "settings",
    "structlog_alone",
    "tasks",
}
"""The modules of `transport` that all of its packages may import."""
TRANSPORT: dict[str, tuple[str, ...]] = {
    "teltonika": (),
    "connection": ("teltonika",),
    "commands": ("teltonika",),
    "simulator": ("teltonika",),
    "daemon": ("connection", "commands", "teltonika"),
    "cli": ("connection", "daemon", "simulator", "teltonika"),
}
"""The packages of `transport`, and what each may import beside the modules that all may."""
STORE = ("client", "streams", "ledger", "fleet", "diagnosis", "api")
"""The packages of `store`; each may import those before it, `keys` and `fsm`."""


def imports(path: Path) -> Iterator[str]:
    """Top-level names of everything a file imports, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (
                str(arg.value).partition(".")[0] for arg in node.args if isinstance(arg, ast.Constant)
            )


def module(path: Path) -> str:
    """The name under which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = set(map(module, FILES))


def modules(path: Path) -> Iterator[str]:
    """The modules that a file imports, inside functions and under TYPE_CHECKING too, by full names."""
    package = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            source = ".".join((*above, *filter(None, [node.module])))
            names = {f"{source}.{alias.name}" for alias in node.names}
            yield from names & MODULES if names <= MODULES else (source, *names & MODULES)


def test_there_are_files_to_check() -> None:
    assert {name.partition("/")[0] for name in NAMES} == set(PACKAGES)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("fsm/")])
def test_the_rules_import_no_io_no_clock_and_no_other_package(name: str) -> None:
    allowed = {"logging"} if name == DOOR else set()
    assert set(imports(ROOT / name)) & (IMPURE - allowed) == set()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("store/")])
def test_the_store_does_not_import_the_transport(name: str) -> None:
    assert "transport" not in imports(ROOT / name)


def test_each_package_of_the_store_imports_only_those_below_it() -> None:
    for place, package in enumerate(STORE):
        allowed = {*STORE[: place + 1], "keys"}
        for path in (ROOT / "store" / package).glob("*.py"):
            assert {name.split(".")[1] for name in modules(path) if name.startswith("store.")} <= allowed, (
                path
            )
    assert {path.parent.name for path in (ROOT / "store").glob("*/__init__.py")} == set(STORE)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("transport/")])
def test_transport_imports_store_only_in_daemon_and_cli(name: str) -> None:
    assert name.startswith(WIRING) or "store" not in imports(ROOT / name)


def test_each_part_of_the_transport_imports_only_what_it_may() -> None:
    for part, others in TRANSPORT.items():
        for path in (ROOT / "transport" / part).rglob("*.py"):
            found = {name.split(".")[1] for name in modules(path) if name.startswith("transport.")}
            assert found <= {part, *others, *SHARED}, path
    assert {path.parent.name for path in (ROOT / "transport").glob("*/__init__.py")} == set(TRANSPORT)


def test_shared_transport_modules_import_only_the_codecs() -> None:
    for path in (ROOT / "transport").glob("*.py"):
        found = {name.split(".")[1] for name in modules(path) if name.startswith("transport.")}
        assert found <= {"teltonika", *SHARED}, path
    assert {path.stem for path in (ROOT / "transport").glob("*.py")} - {"__init__"} == SHARED


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("transport/commands/")])
def test_the_command_side_acts_in_its_dispatcher_alone(name: str) -> None:
    """The other parts decide, and say what follows; a look-up of a ledger is the only task."""
    source = (ROOT / name).read_text(encoding="utf-8")
    acts = re.compile(r"\blink\.(send|taint|clear|close)\(|\blink\.speaks = |\bLedgerPort\b|\basyncio\b")
    allowed = {"dispatcher.py": {"LedgerPort", "link"}, "lookups.py": {"LedgerPort", "asyncio"}}
    found = {match.group().rstrip(" =(").split(".")[0] for match in acts.finditer(source)}
    assert found <= allowed.get(Path(name).name, set())


def test_no_two_files_import_each_other_not_even_for_types() -> None:
    graph = {module(path): set(modules(path)) & MODULES - {module(path)} for path in FILES}
    while leaves := {name for name, found in graph.items() if not found & graph.keys()}:
        graph = {name: found for name, found in graph.items() if name not in leaves}
    assert not graph, "each of these imports another of them, or what does"


@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_door_per_vendor(name: str) -> None:
    found = set(imports(ROOT / name))
    assert name == DOOR or "transitions" not in found
    assert name.startswith("store/") or "redis" not in found
    assert name in MESSAGES or "dataclasses_json" not in found


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("store/client/")])
def test_what_redis_can_raise_is_known_in_store_client_only(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    known = {line for line in lines if line.startswith(("from redis", "import redis"))}
    assert known <= {"from redis.asyncio import Redis"}


def test_the_names_of_keys_are_built_in_one_file() -> None:
    keys = ast.parse((ROOT / "store/keys.py").read_text(encoding="utf-8"))
    texts = (node.value for node in ast.walk(keys) if isinstance(node, ast.Constant))
    names = {text for text in texts if isinstance(text, str) and re.fullmatch(r"\w+:[\w:]+", text)}
    assert names >= {"commands:responses", "commands:outbound:", "instance:heartbeat:"}
    for script in sorted((ROOT / "store/scripts").glob("*.lua")):
        code = "\n".join(line.partition("--")[0] for line in script.read_text(encoding="utf-8").splitlines())
        assert [name for name in names if name in code] == [], script


@pytest.mark.parametrize("name", NAMES)
def test_no_file_is_longer_than_a_reader_can_hold(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= ONE_CLASS.get(name, LINES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_found_its_name(name: str) -> None:
    assert Path(name).stem.lstrip("_") not in UNFOUND_NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / name).read_text(encoding="utf-8")))
