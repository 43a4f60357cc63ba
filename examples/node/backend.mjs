// A back end on the bare streams of Redis. It prints what becomes of commands, and where devices are; with IMEI and
// TEXT it sends a command. `npm ci`, then:
//
//     node backend.mjs redis://127.0.0.1:6379 [IMEI TEXT]
// @ts-check
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { createClient } from "redis";
import { consume } from "./consumer.mjs";

const [url = "redis://127.0.0.1:6379", imei, text] = process.argv.slice(2);
const where = { group: "backend-node", consumer: hostname() };
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort());

/** A connection; each reader that blocks needs one of its own. */
async function connect() {
  const client = createClient({ url, disableOfflineQueue: true });
  client.on("error", (error) => console.error(`Redis: ${error.message || error.code}`));
  await client.connect();
  return /** @type {import("./consumer.mjs").Client} */ (client);
}

/** The last event that was seen of each command: an older one is passed over. A database does this in its UPDATE. */
const lastSeq = new Map();

/** @param {import("./consumer.mjs").Fields} event */
function onEvent(event) {
  if (event.kind !== "command" || Number(event.seq) <= (lastSeq.get(event.command_id) ?? 0)) return;
  lastSeq.set(event.command_id, Number(event.seq));
  console.log("command", event.command_id, event.state, event.reason || event.delivery, JSON.stringify(event.response ?? ""));
}

/** @param {import("./consumer.mjs").Fields} record */
function onRecord(record) {
  const data = JSON.parse(record.data ?? "null");
  if (data?.satellites) console.log("position", record.imei, data.timestamp, data.latitude, data.longitude);
}

/**
 * Hands a command over to the gateway that holds the device.
 * @param {import("./consumer.mjs").Client} client @param {string} imei @param {string} payload
 */
async function send(client, imei, payload) {
  const gateway = await client.hGet("connections:registry", imei);
  if (!gateway) throw new Error(`No gateway holds the device ${imei}.`);
  const command = { command_id: randomUUID(), imei, payload };
  await client.xAdd(`commands:outbound:${gateway}`, "*", command);
  return command.command_id;
}

const [producer, events, records] = await Promise.all([connect(), connect(), connect()]);
const reading = [
  consume(events, { stream: "commands:responses", ...where }, onEvent, stop.signal),
  consume(records, { stream: "telemetry:records", ...where }, onRecord, stop.signal),
];
if (imei && text) console.log("sent", await send(producer, imei, text));
await Promise.all(reading);
for (const client of [producer, events, records]) client.destroy();
