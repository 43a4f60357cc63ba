"""A back end: a table of commands and a table of positions. With IMEI and TEXT it also sends a command.

python backend.py redis://127.0.0.1:6379 backend.db [IMEI TEXT]
"""

import asyncio
import sqlite3
import sys

from store.api import CommandEvent, Gateways, Message, TelemetryRecord

TABLES = """
CREATE TABLE IF NOT EXISTS commands (id TEXT PRIMARY KEY, state TEXT, delivery TEXT, answer TEXT, seq INT);
CREATE TABLE IF NOT EXISTS positions (key TEXT PRIMARY KEY, imei TEXT, at INT, latitude REAL, longitude REAL);
"""
UPDATE = """
INSERT INTO commands VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE
SET state = excluded.state, delivery = excluded.delivery, answer = excluded.answer, seq = excluded.seq
WHERE seq < excluded.seq
"""
INSERT = "INSERT OR IGNORE INTO positions VALUES (?, ?, ?, ?, ?)"


async def main(url: str, path: str, *command: str) -> None:
    table = sqlite3.connect(path, isolation_level=None)
    table.executescript(TABLES)

    def on_event(event: Message) -> None:
        if isinstance(event, CommandEvent):
            row = (event.command_id, event.state, event.delivery, event.response, event.seq)
            table.execute(UPDATE, row)

    def on_record(record: TelemetryRecord) -> None:
        data = record.data
        if data and data.satellites:
            table.execute(INSERT, (record.key, record.imei, data.timestamp, data.latitude, data.longitude))

    async with Gateways.connect(url) as gateways, asyncio.TaskGroup() as tasks:
        tasks.create_task(gateways.events(group="backend").run(on_event))
        tasks.create_task(gateways.records(group="backend").run(on_record))
        if command:
            imei, text = command
            sent = await gateways.send(imei, text, expires_in=60)
            event = await gateways.outcome(sent.command_id)
            print(event.state, event.reason or event.delivery, repr(event.response or ""), flush=True)


asyncio.run(main(*sys.argv[1:]))
