/**
 * Sends the rows of each device in their order.
 *
 * One loop sends everything, so the rows of a device cannot overtake each other in one Directus process. Between
 * processes the oldest row decides: a process claims it with a conditional update, and leaves the device alone while
 * another has claimed it.
 *
 * A row is claimed, with the instance it is offered to, before XADD. From then on only the gateway gives a verdict,
 * because the entry may have arrived whatever XADD said; sending it again is harmless, since a `command_id` is
 * written to a device at most once. Before that, Directus may end a row itself.
 */

import type { Redis } from 'ioredis';
import type { Connection, Log } from './connection.ts';
import { CANCELLED, entryOf, EXPIRED, NOT_CONNECTED, type Row } from './row.ts';
import { CLAIM_MS, type Rows } from './rows.ts';

/** Commands of one device that gateways hold at once. A gateway refuses more than its --queue-limit (32). */
export const WINDOW = 16;
export const RETRY_MS = 2000;

export class Sender {
	readonly #due = new Set<string>();
	/** One timer for each device that another process has claimed, and one for Redis. */
	readonly #timers = new Map<string, NodeJS.Timeout>();
	#running: Promise<void> | undefined;
	#cancels = false;
	#overdue = 0;
	#stopped = false;

	constructor(
		private readonly rows: Rows,
		private readonly producer: Pick<Connection, 'call'>,
		private readonly id: string,
		private readonly prefix: string,
		private readonly log: Log,
	) {}

	/** Send what waits for a device. Returns when nothing is left to do now. */
	wake(imei: string): Promise<void> {
		this.#due.add(imei);
		return this.#run();
	}

	/** Cancel these rows, for which somebody has just requested it. */
	async requestCancel(ids: string[]): Promise<void> {
		try {
			for (const imei of await this.rows.refuseLateCancels(ids)) this.#due.add(imei);
		} catch (error) {
			this.log.error(`telgw: cancel: the database refused (${nameOf(error)}); tried again within a minute`);
		}
		await this.#cancel();
	}

	/** Send everything that waits, published rows without an event included; report rows without a verdict. */
	async sweep(): Promise<{ devices: number; overdue: number }> {
		await this.rows.reopen();
		const devices = await this.rows.devicesToSend();
		for (const imei of devices) this.#due.add(imei);
		await this.#cancel();
		return { devices: devices.length, overdue: await this.#reportOverdue() };
	}

	stop(): void {
		this.#stopped = true;
		for (const timer of this.#timers.values()) clearTimeout(timer);
	}

	#cancel(): Promise<void> {
		this.#cancels = true;
		return this.#run();
	}

	#run(): Promise<void> {
		// Not a chain of promises: it ends in the same turn in which nothing was left to do.
		this.#running ??= this.#drain();
		return this.#running;
	}

	async #drain(): Promise<void> {
		try {
			// The first turn is over before `#running` is read.
			await Promise.resolve();
			while (!this.#stopped && (this.#cancels || this.#due.size > 0)) {
				if (!(await this.#step())) {
					this.#later('redis', RETRY_MS, () => this.#run());
					break;
				}
			}
		} finally {
			this.#running = undefined;
		}
	}

	/** One device, or the cancels. False: Redis cannot be used now, and nothing else can be sent either. */
	async #step(): Promise<boolean> {
		const [imei] = this.#cancels ? [undefined] : this.#due;
		try {
			if (imei === undefined) {
				await this.#sendCancels();
				this.#cancels = false;
			} else {
				this.#due.delete(imei);
				await this.#sendDevice(imei);
			}
			return true;
		} catch (error) {
			if (error instanceof Unsent) {
				if (imei !== undefined) this.#due.add(imei);
				return false;
			}
			// The database: one device must not hold up the others. The text of the error has the values of the row.
			this.log.error(`telgw: ${imei ?? 'cancels'}: the database refused (${nameOf(error)}); tried again within a minute`);
			if (imei === undefined) this.#cancels = false;
			return true;
		}
	}

	async #sendDevice(imei: string): Promise<void> {
		for (let row = await this.rows.next(imei); row && !this.#stopped; row = await this.rows.next(imei)) {
			if (this.#ofAnother(row)) {
				this.#later(imei, CLAIM_MS / 3, () => this.wake(imei));
				return;
			}
			if (!(await this.#send(row))) return;
		}
	}

	/** False: the device has to wait. */
	async #send(row: Row): Promise<boolean> {
		const offered = row.instance_id !== null;
		if (!offered && row.cancel_requested) return this.#end(row, CANCELLED);
		if (!offered && expired(row)) return this.#end(row, EXPIRED);
		if ((await this.rows.inFlight(row.imei)) >= WINDOW) return false;
		const holder = await this.#redis((redis) => redis.hget(`${this.prefix}connections:registry`, row.imei));
		// An instance that has perhaps taken it also gives the verdict when the device has left.
		const waits = row.offline === 'wait';
		const instance = holder ?? row.instance_id ?? (waits ? await this.#anyGateway() : null);
		// Without any gateway a row that may wait does so here.
		if (instance === null) return waits ? false : this.#end(row, NOT_CONNECTED);
		if (!(await this.rows.claim(row, instance))) return true;
		const stream = `${this.prefix}commands:outbound:${instance}`;
		const entry = await this.#redis((redis) => redis.xadd(stream, '*', ...entryOf(row)));
		await this.rows.published(row, String(entry));
		return true;
	}

	/** An instance that is alive, for what any of them can take. */
	async #anyGateway(): Promise<string | null> {
		for (const name of await this.#redis((redis) => redis.hkeys(`${this.prefix}instances:known`))) {
			if (await this.#redis((redis) => redis.exists(`${this.prefix}instance:heartbeat:${name}`))) return name;
		}
		return null;
	}

	async #end(row: Row, given: typeof CANCELLED): Promise<boolean> {
		await this.rows.end(row, given);
		return true;
	}

	async #sendCancels(): Promise<void> {
		for (const row of await this.rows.cancels()) {
			const ledger = `${this.prefix}commands:state:${row.id}`;
			const holder = await this.#redis((redis) => redis.hget(ledger, 'instance_id'));
			// A command that waits for its device belongs to no instance: any of them can cancel it.
			const instance = holder === '' ? await this.#anyGateway() : holder;
			// Not taken yet: on the same stream the cancel comes after the command.
			const stream = `${this.prefix}commands:outbound:${instance ?? row.instance_id}`;
			await this.#redis((redis) => redis.xadd(stream, '*', 'type', 'cancel', 'command_id', row.id));
			await this.rows.cancelTried(row);
		}
	}

	async #reportOverdue(): Promise<number> {
		const overdue = await this.rows.overdue();
		if (overdue > this.#overdue) {
			this.log.error(`telgw: ${overdue} commands have no verdict long after their time; see telgw check and telgw history`);
		}
		this.#overdue = overdue;
		return overdue;
	}

	#ofAnother(row: Row): boolean {
		return row.sender !== null && row.sender !== this.id && Number(row.attempted_at) > Date.now() - CLAIM_MS;
	}

	async #redis<T>(work: (redis: Redis) => Promise<T>): Promise<T> {
		try {
			return await this.producer.call(work);
		} catch {
			// The connection has logged why.
			throw new Unsent();
		}
	}

	#later(what: string, ms: number, work: () => Promise<void>): void {
		if (this.#timers.has(what)) return;
		const timer = setTimeout(() => {
			this.#timers.delete(what);
			void work();
		}, ms);
		timer.unref();
		this.#timers.set(what, timer);
	}
}

class Unsent extends Error {}

function expired(row: Row): boolean {
	return row.expires_at !== null && Date.parse(row.expires_at) <= Date.now();
}

/** What an error may be called in a log: its message can contain the values of the row. */
export function nameOf(error: unknown): string {
	const { code, name } = error as { code?: string; name?: string };
	return code ?? name ?? 'unknown error';
}
