// Reads a stream with a consumer group, by the rules for consumers of docs/contract.md.
// @ts-check

/** @typedef {Record<string, string>} Fields The fields of an entry; every value is text. */
/** @typedef {ReturnType<typeof import("redis").createClient>} Client */

const BATCH = 100;
const BLOCK_MS = 1000;
const RETRY_MS = 500;

/**
 * Gives each entry of a stream to `handle`, at least once, and acknowledges it afterwards.
 *
 * An entry whose handler fails stays pending and is tried again after `claimMs`, like the entries of a consumer that
 * has died. An outage of Redis is waited out.
 *
 * @param {Client} client a connection of its own, because its reads block
 * @param {{stream: string, group: string, consumer: string, claimMs?: number}} where
 * @param {(fields: Fields, id: string) => unknown} handle
 * @param {AbortSignal} stop
 */
export async function consume(client, { stream, group, consumer, claimMs = 60_000 }, handle, stop) {
  let pending = "0"; // what this consumer has read and not acknowledged is read again first
  let ready = false;
  let claimAt = 0;
  while (!stop.aborted) {
    try {
      if (!ready) await createGroup(client, stream, group);
      ready = true;
      let entries;
      if (pending !== ">") {
        entries = await read(client, stream, group, consumer, pending, 0);
        pending = entries.at(-1)?.id ?? ">";
      } else if (Date.now() >= claimAt) {
        entries = await claim(client, stream, group, consumer, claimMs);
        if (!entries.length) claimAt = Date.now() + claimMs / 2;
      } else {
        entries = await read(client, stream, group, consumer, ">", BLOCK_MS);
      }
      for (const { id, fields } of entries) {
        try {
          await handle(fields, id);
        } catch (error) {
          console.error(`${stream} ${id} was not handled: ${error}`);
          continue;
        }
        await client.xAck(stream, group, id);
      }
    } catch (error) {
      if (stop.aborted) return;
      console.error(`Redis cannot be used: ${error}`);
      [ready, pending] = [false, "0"]; // a lost reply leaves entries pending
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** @param {Client} client @param {string} stream @param {string} group */
async function createGroup(client, stream, group) {
  try {
    await client.xGroupCreate(stream, group, "0", { MKSTREAM: true });
  } catch (error) {
    if (!String(error).includes("BUSYGROUP")) throw error;
  }
}

/**
 * @param {Client} client @param {string} stream @param {string} group @param {string} consumer
 * @param {string} id @param {number} block
 */
async function read(client, stream, group, consumer, id, block) {
  const options = block ? { COUNT: BATCH, BLOCK: block } : { COUNT: BATCH };
  const reply = /** @type {any} */ (await client.xReadGroup(group, consumer, { key: stream, id }, options));
  return entriesOf(reply?.[0]?.messages ?? []);
}

/** @param {Client} client @param {string} stream @param {string} group @param {string} consumer @param {number} idle */
async function claim(client, stream, group, consumer, idle) {
  const reply = await client.xAutoClaim(stream, group, consumer, idle, "0", { COUNT: BATCH });
  return entriesOf(reply.messages);
}

/**
 * @param {any[]} messages an entry that was trimmed is null, or has no fields
 * @returns {{id: string, fields: Fields}[]}
 */
function entriesOf(messages) {
  return messages.filter(Boolean).map(({ id, message }) => ({ id, fields: { ...message } }));
}
