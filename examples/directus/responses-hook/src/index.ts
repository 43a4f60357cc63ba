import { hostname } from 'node:os';
import { defineHook } from '@directus/extensions-sdk';
import { Redis } from 'ioredis';

const GROUP = 'directus';
const CLAIM_AFTER_MS = 60_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

type Entry = [id: string, fields: string[] | null];

export default defineHook(({ init }, { env, database, logger }) => {
	const url = String(env['TELGW_REDIS'] ?? 'redis://127.0.0.1:6379/0');
	const stream = `${env['TELGW_KEY_PREFIX'] ?? ''}commands:responses`;
	const consumer = `${hostname()}-${process.pid}`;

	init('app.after', () => {
		// A connection of its own: a blocking read holds up everything else on it.
		const redis = new Redis(url, { maxRetriesPerRequest: null });
		redis.on('error', (error) => logger.warn(`telgw: ${error.message}`));
		void follow(redis);
	});

	async function follow(redis: Redis) {
		for (;;) {
			try {
				await redis.xgroup('CREATE', stream, GROUP, '0', 'MKSTREAM').catch((error: Error) => {
					if (!error.message.startsWith('BUSYGROUP')) throw error;
				});
				for (;;) {
					// First what another process of ours read and did not finish, then what is new.
					const claimed = (await redis.xautoclaim(stream, GROUP, consumer, CLAIM_AFTER_MS, '0', 'COUNT', 100)) as [string, Entry[]];
					await handle(redis, claimed[1]);
					const fresh = (await redis.xreadgroup('GROUP', GROUP, consumer, 'COUNT', 100, 'BLOCK', 2000, 'STREAMS', stream, '>')) as
						| [string, Entry[]][]
						| null;
					await handle(redis, fresh?.[0]?.[1] ?? []);
				}
			} catch (error) {
				logger.warn(`telgw: ${(error as Error).message}`);
				await new Promise((resolve) => setTimeout(resolve, 1000));
			}
		}
	}

	async function handle(redis: Redis, entries: Entry[]) {
		for (const [id, flat] of entries) {
			if (flat) await apply(Object.fromEntries(pairs(flat)));
			// After the row, never before: an entry that is not acknowledged comes again.
			await redis.xack(stream, GROUP, id);
		}
	}

	async function apply(event: Record<string, string>) {
		// Commands of other producers have no row here, and a database refuses what is no UUID.
		if (!UUID.test(event['command_id'] ?? '')) return;
		if (event['kind'] === 'note' && event['note'] === 'late_response') {
			const late = event['response'] ?? event['response_hex'] ?? '';
			await database('commands').where('id', event['command_id']).update({ late_response: late });
		}
		if (event['kind'] !== 'command') return;
		const seq = Number(event['seq']);
		await database('commands')
			.where('id', event['command_id'])
			.andWhere((row) => row.whereNull('last_seq').orWhere('last_seq', '<', seq))
			.update({
				state: event['state'],
				reason: event['reason'] || null,
				delivery: event['delivery'],
				response: event['response'] ?? event['response_hex'] ?? null,
				last_seq: seq,
			});
	}
});

function* pairs(flat: string[]): Generator<[string, string]> {
	for (let at = 0; at + 1 < flat.length; at += 2) yield [flat[at]!, flat[at + 1]!];
}
