/**
 * Reads `commands:responses` and updates the rows.
 *
 * Every entry is acknowledged after its row was updated. An entry that its row refuses does not hold up the others:
 * it is tried again later, and after `TRIES` only its state is stored, with an error in the log. When the database
 * itself cannot be used nothing is given up: the consumer waits for it.
 *
 * All Directus processes read with one group and under one consumer name, so a process that dies leaves no consumer
 * behind. What it had read is claimed by any other once it has lain for `CLAIM_AFTER_MS`.
 */

import type { Connection, Log } from './connection.ts';
import type { Event } from './row.ts';
import type { Rows } from './rows.ts';
import { nameOf } from './sender.ts';

export const GROUP = 'directus';
export const CONSUMER = 'directus';
export const TRIES = 5;
const BATCH = 50;
const BLOCK_MS = 2000;
const REPLY_MS = 3000;
const CLAIM_AFTER_MS = 30_000;
const CLAIM_EVERY_MS = 5000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

type Entry = [id: string, fields: string[] | null];
type Failed = { event: Event; tries: number; due: number };

export class Consumer {
	readonly #failed = new Map<string, Failed>();
	#claimAt = 0;
	#stopped = false;

	constructor(
		private readonly rows: Rows,
		private readonly connection: Pick<Connection, 'call'>,
		private readonly prefix: string,
		private readonly log: Log,
		/** Called with the device whose command has ended. */
		private readonly onEnded: (imei: string) => void,
		private readonly sleep: (ms: number) => Promise<void> = (ms) => new Promise((done) => setTimeout(done, ms)),
	) {}

	/** Read until `stop`. */
	async run(): Promise<void> {
		while (!this.#stopped) {
			try {
				await this.read();
			} catch (error) {
				if (this.#stopped) return;
				// The connection has logged what it is.
				if (String(error).includes('NOGROUP')) await this.#createGroup().catch(() => this.sleep(1000));
				else await this.sleep(1000);
			}
		}
	}

	stop(): void {
		this.#stopped = true;
	}

	/** One round: what failed before, what others left, what is new. */
	async read(): Promise<void> {
		await this.#retry();
		if (Date.now() >= this.#claimAt) {
			this.#claimAt = Date.now() + CLAIM_EVERY_MS;
			await this.#handle(await this.#claim());
		}
		await this.#handle(await this.#readNew());
	}

	async #readNew(): Promise<Entry[]> {
		const block = this.#failed.size > 0 ? BLOCK_MS / 4 : BLOCK_MS;
		const streams = await this.connection.call(
			(redis) => redis.xreadgroup('GROUP', GROUP, CONSUMER, 'COUNT', BATCH, 'BLOCK', block, 'STREAMS', this.#stream, '>'),
			block + REPLY_MS,
		);
		return ((streams as [string, Entry[]][] | null)?.[0]?.[1] ?? []) as Entry[];
	}

	async #claim(): Promise<Entry[]> {
		const reply = await this.connection.call((redis) =>
			redis.xautoclaim(this.#stream, GROUP, CONSUMER, CLAIM_AFTER_MS, '0', 'COUNT', BATCH),
		);
		// A full batch: there may be more.
		const entries = (reply as [string, Entry[]])[1].filter(Boolean);
		if (entries.length === BATCH) this.#claimAt = 0;
		return entries.filter(([id]) => !this.#failed.has(id));
	}

	async #handle(entries: Entry[]): Promise<void> {
		for (const [id, fields] of entries) {
			const event = fields && objectOf(fields);
			if (!event || !concerns(event)) await this.#acknowledge(id);
			else await this.#try(id, { event, tries: 0, due: 0 });
		}
	}

	async #retry(): Promise<void> {
		for (const [id, failed] of [...this.#failed]) {
			if (failed.due <= Date.now()) await this.#try(id, failed);
		}
	}

	async #try(id: string, item: Failed): Promise<void> {
		try {
			this.#ended(await this.rows.apply(item.event));
		} catch (error) {
			await this.#untilDatabaseAnswers();
			item.tries += 1;
			item.due = Date.now() + 250 * 2 ** item.tries;
			this.#failed.set(id, item);
			if (item.tries < TRIES) return;
			await this.#giveUp(id, item, error);
		}
		this.#failed.delete(id);
		await this.#acknowledge(id);
	}

	async #giveUp(id: string, { event }: Failed, error: unknown): Promise<void> {
		const what = `telgw: event ${id} of command ${event['command_id']} does not fit its row (${nameOf(error)})`;
		try {
			this.#ended(await this.rows.applyState(event));
			this.log.error(`${what}: given up after ${TRIES} tries; only its state is stored`);
		} catch {
			this.log.error(`${what}: given up after ${TRIES} tries; nothing of it is stored`);
		}
	}

	/** A database that is away is no fault of the row. */
	async #untilDatabaseAnswers(): Promise<void> {
		for (let told = false; !this.#stopped; told = true) {
			try {
				await this.rows.check();
				if (told) this.log.info('telgw: the database is back');
				return;
			} catch (error) {
				if (!told) this.log.error(`telgw: the database cannot be used (${nameOf(error)}); events wait`);
				await this.sleep(2000);
			}
		}
		throw new Error('stopped');
	}

	async #acknowledge(id: string): Promise<void> {
		await this.connection.call((redis) => redis.xack(this.#stream, GROUP, id));
	}

	async #createGroup(): Promise<void> {
		try {
			await this.connection.call((redis) => redis.xgroup('CREATE', this.#stream, GROUP, '0', 'MKSTREAM'));
		} catch (error) {
			// Another process was first.
			if (!String(error).includes('BUSYGROUP')) throw error;
		}
	}

	#ended(imei: string | null): void {
		if (imei !== null) this.onEnded(imei);
	}

	get #stream(): string {
		return `${this.prefix}commands:responses`;
	}
}

/** Whether a row may belong to it: commands of other producers have none, and a database refuses what is no UUID. */
function concerns(event: Event): boolean {
	return (event['kind'] === 'command' || event['kind'] === 'note') && UUID.test(event['command_id'] ?? '');
}

function objectOf(flat: string[]): Event {
	const event: Event = {};
	for (let at = 0; at + 1 < flat.length; at += 2) event[flat[at]!] = flat[at + 1]!;
	return event;
}
