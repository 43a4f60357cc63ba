/** The parts of the extension in one Directus process, wired together: one sender and one consumer. */

import { randomUUID } from 'node:crypto';
import { Connection, type Log } from './connection.ts';
import { Consumer } from './consumer.ts';
import { DirectusRows, type DirectusContext } from './rows.ts';
import { Sender } from './sender.ts';

const PING_MS = 5000;
const SWEEP_RETRY_MS = 60_000;

export class Service {
	readonly sender: Sender;
	readonly #consumer: Consumer;
	readonly #producing: Connection;
	readonly #consuming: Connection;
	#ping: NodeJS.Timeout | undefined;

	constructor(directus: DirectusContext, log: Log) {
		const { env } = directus;
		const prefix = String(env['TELGW_KEY_PREFIX'] ?? '');
		const id = randomUUID();
		const rows = new DirectusRows(directus, id);
		this.#producing = new Connection(urlOf(env, 'PRODUCER'), 'producer', log, () => this.#sweep(log));
		this.#consuming = new Connection(urlOf(env, 'CONSUMER'), 'consumer', log);
		this.sender = new Sender(rows, this.#producing, id, prefix, log);
		this.#consumer = new Consumer(rows, this.#consuming, prefix, log, (imei) => void this.sender.wake(imei));
	}

	start(log: Log): void {
		void this.#consumer.run();
		// A connection that nobody uses can be dead for hours: the ping notices, before a command has to wait.
		this.#ping = setInterval(() => void this.#producing.call((redis) => redis.ping()).catch(() => {}), PING_MS);
		this.#ping.unref();
		this.#sweep(log);
	}

	stop(): void {
		clearInterval(this.#ping);
		this.sender.stop();
		this.#consumer.stop();
		this.#producing.close();
		this.#consuming.close();
	}

	#sweep(log: Log): void {
		this.sender.sweep().catch(() => {
			// The collection does not exist yet, or the database is away.
			log.warn('telgw: the collection "commands" cannot be read; has the set-up script run?');
			setTimeout(() => this.#sweep(log), SWEEP_RETRY_MS).unref();
		});
	}
}

function urlOf(env: Record<string, unknown>, role: string): string {
	return String(env[`TELGW_REDIS_${role}`] ?? env['TELGW_REDIS'] ?? 'redis://127.0.0.1:6379/0');
}

let running: Service | undefined;

/** The service of this process, which the hook starts with the server; a CLI command of Directus has none. */
export function current(): Service | undefined {
	return running;
}

export function startService(directus: DirectusContext, log: Log): void {
	running?.stop();
	running = new Service(directus, log);
	running.start(log);
}
