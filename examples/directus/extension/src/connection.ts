/**
 * One connection to Redis that never hangs and says when it is lost and when it is back.
 *
 * ioredis waits for a half-open connection as long as TCP does, which is many minutes. Here each call has a deadline,
 * and a connection that misses one is thrown away. Nothing is queued while Redis is away and nothing is sent twice by
 * the client: the caller repeats what it may repeat.
 */

import { Redis, type RedisOptions } from 'ioredis';

export type Log = { info: (text: string) => void; warn: (text: string) => void; error: (text: string) => void };

export const DEADLINE_MS = 3000;

const OPTIONS: RedisOptions = {
	lazyConnect: true,
	retryStrategy: () => null,
	enableOfflineQueue: false,
	autoResendUnfulfilledCommands: false,
	maxRetriesPerRequest: 0,
	connectTimeout: DEADLINE_MS,
	disableClientInfo: true,
	connectionName: 'directus-telgw',
	// Stream entries are large integers in text: nothing may become a number.
	stringNumbers: true,
};

export class Connection {
	#redis: Redis | undefined;
	#connecting: Promise<Redis> | undefined;
	#trouble: { since: number; text: string } | undefined;
	#used = false;
	#closed = false;

	constructor(
		private readonly url: string,
		private readonly role: string,
		private readonly log: Log,
		/** Called when Redis answers again after it did not. */
		private readonly onBack: () => void = () => {},
	) {}

	/** Do `work` within `ms` milliseconds, or throw. Whether a write that failed has arrived is not known. */
	async call<T>(work: (redis: Redis) => Promise<T>, ms = DEADLINE_MS): Promise<T> {
		try {
			const redis = await this.#ready();
			const result = await within(ms, work(redis));
			this.#answered();
			return result;
		} catch (error) {
			// A refusal is an answer: the connection is good.
			if (!refused(error)) this.#drop();
			if (!ofGroup(error)) this.#failed(error as Error);
			throw error;
		}
	}

	close(): void {
		this.#closed = true;
		this.#drop();
	}

	async #ready(): Promise<Redis> {
		if (this.#closed) throw new Error('closed');
		if (this.#redis) return this.#redis;
		this.#connecting ??= this.#connect().finally(() => (this.#connecting = undefined));
		return this.#connecting;
	}

	async #connect(): Promise<Redis> {
		const redis = new Redis(this.url, OPTIONS);
		let cause: Error | undefined;
		redis.on('error', (error: Error) => (cause = error));
		redis.on('end', () => this.#forget(redis));
		try {
			await within(DEADLINE_MS, redis.connect());
		} catch (error) {
			redis.disconnect();
			// "Connection is closed." says less than what closed it.
			throw cause ?? error;
		}
		if (this.#closed) redis.disconnect();
		this.#redis = redis;
		return redis;
	}

	#drop(): void {
		const redis = this.#redis;
		this.#redis = undefined;
		redis?.disconnect();
	}

	#forget(redis: Redis): void {
		if (this.#redis === redis) this.#redis = undefined;
	}

	#failed(error: Error): void {
		if (this.#closed) return;
		const text = refused(error) ? `refuses: ${error.message.split(' ', 1)[0]}` : `does not answer: ${error.message}`;
		if (this.#trouble && refused(error) === this.#trouble.text.startsWith('refuses')) return;
		this.#trouble = { since: this.#trouble?.since ?? Date.now(), text };
		this.log.error(`telgw: Redis (${this.role}) ${text}`);
	}

	#answered(): void {
		const trouble = this.#trouble;
		this.#trouble = undefined;
		if (trouble) {
			const seconds = Math.round((Date.now() - trouble.since) / 1000);
			this.log.info(`telgw: Redis (${this.role}) is back after ${seconds} s`);
			this.onBack();
		} else if (!this.#used) this.log.info(`telgw: Redis (${this.role}) is connected`);
		this.#used = true;
	}
}

/** Whether Redis itself has refused the call: an access rule, a full memory, a wrong type. */
export function refused(error: unknown): boolean {
	return error instanceof Error && error.name === 'ReplyError';
}

/** Whether a consumer group is missing, or is there already: the caller knows what to do. */
function ofGroup(error: unknown): boolean {
	return refused(error) && /^(NOGROUP|BUSYGROUP)/.test((error as Error).message);
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
	let timer: NodeJS.Timeout | undefined;
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(() => reject(new Error(`no reply within ${ms / 1000} s`)), ms);
	});
	// What is late may still fail: nobody waits for it any more.
	work.catch(() => {});
	try {
		return await Promise.race([work, late]);
	} finally {
		clearTimeout(timer);
	}
}
