/**
 * What the sender and the consumer ask of the collection `commands`.
 *
 * Readers and Flows see every change of a row that a person can see, because it goes through Directus' services.
 * The bookkeeping of the sender (`sender`, `attempted_at`, `outbound_id`) is written directly: each of these updates
 * is conditional, so that of several Directus processes one wins.
 */

import { answerOf, cancelResult, CANCELLED, changesOf, COLLECTION, ROW_FIELDS, UNFINISHED, verdict } from './row.ts';
import type { Event, Row, Verdict } from './row.ts';

/** A claim of another process is respected this long. */
export const CLAIM_MS = 30_000;
/** A published row without an event is published again after this. */
export const SILENCE_MS = 60_000;
/** A cancel without a reply is published again after this. */
export const CANCEL_MS = 10_000;
/** A command has a verdict this long after its expiry at the latest: 3600 s are the longest response timeout. */
const OVERDUE_MS = 65 * 60_000;

export interface Rows {
	/** The devices that have rows to send. */
	devicesToSend(): Promise<string[]>;
	/** The oldest row of a device that is not published. */
	next(imei: string): Promise<Row | undefined>;
	/** How many commands of a device gateways hold. */
	inFlight(imei: string): Promise<number>;
	/** Reserve a row for this process, and note the instance that it is offered to. */
	claim(row: Row, instance: string | null): Promise<boolean>;
	/** Note that a row is on the stream of its instance. */
	published(row: Row, entry: string): Promise<void>;
	/** End a row that no gateway knows. */
	end(row: Row, given: Verdict): Promise<void>;
	/** Make rows that have been published without any event ready to be published again. */
	reopen(): Promise<void>;
	/** Answer the cancels of commands that have ended. Returns the devices of the others. */
	refuseLateCancels(ids: string[]): Promise<string[]>;
	/** Rows that a cancel is due for. */
	cancels(): Promise<Row[]>;
	cancelTried(row: Row): Promise<void>;
	/** How many rows should have a verdict and have none. */
	overdue(): Promise<number>;
	/** Apply an event or a note to its row. Returns the device whose command has ended. */
	apply(event: Event): Promise<string | null>;
	/** Apply only the state of an event, because its row refuses the rest. */
	applyState(event: Event): Promise<string | null>;
	/** Throw when the database cannot be used. */
	check(): Promise<void>;
}

// Directus gives extensions its services without types.
type Services = any;
type Database = any;
export type DirectusContext = {
	services: Services;
	database: Database;
	getSchema: () => Promise<unknown>;
	env: Record<string, unknown>;
};

export class DirectusRows implements Rows {
	constructor(
		private readonly directus: DirectusContext,
		private readonly sender: string,
	) {}

	async devicesToSend(): Promise<string[]> {
		const query = { filter: toSend(), group: ['imei'], aggregate: { count: ['id'] }, limit: -1 };
		return (await this.#read(query)).map((group) => String(group['imei']));
	}

	async next(imei: string): Promise<Row | undefined> {
		const filter = { _and: [{ imei: { _eq: imei } }, toSend()] };
		const [row] = await this.#read({ filter, sort: ['position', 'id'], limit: 1, fields: ROW_FIELDS });
		return row as Row | undefined;
	}

	async inFlight(imei: string): Promise<number> {
		return this.#count([
			{ imei: { _eq: imei } },
			{ state: { _in: UNFINISHED } },
			{ outbound_id: { _nnull: true } },
			{ expires_at: { _gt: iso(0) } },
		]);
	}

	async claim(row: Row, instance: string | null): Promise<boolean> {
		const now = Date.now();
		const claimed = await this.#unpublished(row)
			.andWhere((free: Database) =>
				free.whereNull('attempted_at').orWhere('attempted_at', '<', now - CLAIM_MS).orWhere('sender', this.sender),
			)
			.update({ sender: this.sender, attempted_at: now, ...(instance ? { instance_id: instance } : {}) });
		return claimed > 0;
	}

	async published(row: Row, entry: string): Promise<void> {
		await this.directus.database(COLLECTION).where('id', row.id).whereNull('outbound_id').update({ outbound_id: entry });
	}

	async end(row: Row, given: Verdict): Promise<void> {
		if (!(await this.claim(row, null))) return;
		const changes = { ...verdict(given), finished_at: iso(0) };
		await this.#change(row.id, (now) => now.state === 'pending' && now.instance_id === null, changes);
	}

	async reopen(): Promise<void> {
		const silent = await this.#ids([
			{ state: { _eq: 'pending' } },
			{ outbound_id: { _nnull: true } },
			{ attempted_at: { _lt: Date.now() - SILENCE_MS } },
			{ expires_at: { _gt: iso(-OVERDUE_MS) } },
		]);
		if (silent.length === 0) return;
		await this.directus.database(COLLECTION).whereIn('id', silent).where('state', 'pending').update({ outbound_id: null });
	}

	async refuseLateCancels(ids: string[]): Promise<string[]> {
		const devices: string[] = [];
		const rows = await this.#read({ filter: { id: { _in: ids } }, fields: ['id', 'imei', 'state'], limit: -1 });
		for (const row of rows as Row[]) {
			if (UNFINISHED.includes(row.state)) devices.push(row.imei);
			else await this.#change(row.id, () => true, { cancel_result: cancelResult('terminal') });
		}
		return devices;
	}

	async cancels(): Promise<Row[]> {
		const filter = {
			_and: [
				{ cancel_requested: { _eq: true } },
				{ cancel_result: { _null: true } },
				{ state: { _in: UNFINISHED } },
				{ instance_id: { _nnull: true } },
				{ _or: [{ cancel_attempted_at: { _null: true } }, { cancel_attempted_at: { _lt: Date.now() - CANCEL_MS } }] },
			],
		};
		return (await this.#read({ filter, limit: 500, fields: ROW_FIELDS })) as Row[];
	}

	async cancelTried(row: Row): Promise<void> {
		await this.directus.database(COLLECTION).where('id', row.id).update({ cancel_attempted_at: Date.now() });
	}

	async overdue(): Promise<number> {
		return this.#count([{ state: { _in: UNFINISHED } }, { expires_at: { _lt: iso(-OVERDUE_MS) } }]);
	}

	async apply(event: Event): Promise<string | null> {
		if (event['kind'] === 'note') return this.#applyNote(event);
		return this.#applyEvent(event, changesOf(event));
	}

	async applyState(event: Event): Promise<string | null> {
		if (event['kind'] !== 'command') return null;
		const { state, reason, delivery, summary, last_seq, finished_at } = changesOf(event);
		const changes = { state, reason, delivery, summary, last_seq, ...(finished_at ? { finished_at } : {}) };
		return this.#applyEvent(event, changes);
	}

	async check(): Promise<void> {
		await this.directus.database.raw('SELECT 1');
	}

	async #applyEvent(event: Event, changes: Record<string, unknown>): Promise<string | null> {
		const seq = Number(event['seq']);
		const newer = (row: Stored) => row.last_seq === null || Number(row.last_seq) < seq;
		const row = await this.#change(event['command_id']!, newer, changes);
		return row && event['terminal'] === '1' ? row.imei : null;
	}

	async #applyNote(event: Event): Promise<string | null> {
		const id = event['command_id']!;
		if (event['note'] === 'late_response') {
			await this.#change(id, () => true, { late_response: answerOf(event) ?? '' });
		} else if (event['note'] === 'cancel_rejected') {
			return (await this.#cancelOffered(event)) ?? this.#cancelRefused(event);
		}
		return null;
	}

	/** End a row that was offered but is with no gateway. Events that come nevertheless take precedence. */
	async #cancelOffered(event: Event): Promise<string | null> {
		if (event['detail'] !== 'unknown') return null;
		const changes = { ...verdict(CANCELLED), finished_at: event['at'] ?? iso(0) };
		const unknown = (now: Stored) => now.state === 'pending' && now.last_seq === null;
		return (await this.#change(event['command_id']!, unknown, changes))?.imei ?? null;
	}

	async #cancelRefused(event: Event): Promise<null> {
		const changes = { cancel_result: cancelResult(event['detail'] ?? '') };
		await this.#change(event['command_id']!, (now) => Boolean(now.cancel_requested), changes);
		return null;
	}

	/**
	 * Update a row through Directus' services if `allowed` says so about the row as it is at that moment.
	 *
	 * The row is locked and asked in the transaction that the service itself opens for the update, so of two
	 * processes with two events of one command the later event wins. Directus purges its cache and runs Flows after
	 * that transaction; a transaction around the service would make both see the old row.
	 */
	async #change(id: string, allowed: (row: Stored) => boolean, changes: Record<string, unknown>): Promise<Stored | null> {
		const { database, services } = this.directus;
		// Most commands of other producers, and most repeated events, need no transaction.
		let row: Stored | undefined = await database(COLLECTION).where('id', id).first(STORED);
		if (!row || !allowed(row)) return null;
		const guarded = guardedBy(database, async (trx) => {
			row = await trx(COLLECTION).where('id', id).forUpdate().first(STORED);
			if (!row || !allowed(row)) throw new Outdated();
		});
		const schema = await this.directus.getSchema();
		try {
			await new services.ItemsService(COLLECTION, { schema, knex: guarded }).updateOne(id, changes);
			return row;
		} catch (error) {
			if (error instanceof Outdated) return null;
			throw error;
		}
	}

	#unpublished(row: Row): Database {
		return this.directus.database(COLLECTION).where({ id: row.id, state: 'pending' }).whereNull('outbound_id');
	}

	async #read(query: object): Promise<Record<string, unknown>[]> {
		const schema = await this.directus.getSchema();
		const service = new this.directus.services.ItemsService(COLLECTION, { schema });
		return service.readByQuery(query, { emitEvents: false });
	}

	async #ids(conditions: object[]): Promise<string[]> {
		const rows = await this.#read({ filter: { _and: conditions }, fields: ['id'], limit: 1000 });
		return rows.map((row) => String(row['id']));
	}

	async #count(conditions: object[]): Promise<number> {
		const [counted] = await this.#read({ filter: { _and: conditions }, aggregate: { count: ['id'] } });
		return Number((counted?.['count'] as { id: number } | undefined)?.id ?? 0);
	}
}

type Stored = Pick<Row, 'imei' | 'state' | 'instance_id' | 'cancel_requested'> & { last_seq: number | string | null };
const STORED = ['imei', 'state', 'instance_id', 'cancel_requested', 'last_seq'];

class Outdated extends Error {}

/** The database, but each transaction begins with `check`, which may throw. */
function guardedBy(database: Database, check: (trx: Database) => Promise<void>): Database {
	const transaction = (work: (trx: Database) => Promise<unknown>) =>
		database.transaction(async (trx: Database) => {
			await check(trx);
			return work(trx);
		});
	return new Proxy(database, {
		get: (target, name) => (name === 'transaction' ? transaction : Reflect.get(target, name)),
	});
}

/**
 * Not published. A row with a cancel is left to the cancel once it was offered to a gateway. A row that waits for a
 * second person is left alone until it is confirmed, cancelled or too old.
 */
function toSend(): object {
	return {
		_and: [
			{ state: { _eq: 'pending' } },
			{ outbound_id: { _null: true } },
			{ _or: [{ cancel_requested: { _null: true } }, { cancel_requested: { _eq: false } }, { instance_id: { _null: true } }] },
			{
				_or: [
					{ two_persons: { _null: true } },
					{ two_persons: { _eq: false } },
					{ confirmed_by: { _nnull: true } },
					{ cancel_requested: { _eq: true } },
					{ expires_at: { _lte: iso(0) } },
				],
			},
		],
	};
}

/** The time `ms` from now, as Directus takes it. */
function iso(ms: number): string {
	return new Date(Date.now() + ms).toISOString();
}
