import { defineOperationApi } from '@directus/extensions-sdk';
import { Redis } from 'ioredis';

type Options = Record<string, string | number | boolean | null | undefined>;

let redis: Redis | undefined;

export default defineOperationApi<Options>({
	id: 'telgw-redis-xadd',
	handler: async (options, { env, logger }) => {
		redis ??= connect(String(env['TELGW_REDIS'] ?? 'redis://127.0.0.1:6379/0'), (problem) => logger.warn(`telgw: ${problem}`));
		const prefix = String(env['TELGW_KEY_PREFIX'] ?? '');
		try {
			const instance = await redis.hget(`${prefix}connections:registry`, String(options['imei']));
			// What is thrown goes down the failure path of the Flow as {{$last}}.
			if (!instance) throw { reason: 'device_not_connected' };

			const fields = Object.entries(options)
				.filter(([, value]) => value !== null && value !== undefined && value !== '')
				.flatMap(([name, value]) => [name, String(value)]);
			const entry = await redis.xadd(`${prefix}commands:outbound:${instance}`, '*', ...fields);
			return { instance, entry };
		} catch (error) {
			if (!(error instanceof Error)) throw error;
			// No verdict: the entry may have arrived. The row stays pending, and sending it again is harmless.
			logger.warn(`telgw: ${error.message}`);
			return { instance: null, entry: null };
		}
	},
});

function connect(url: string, warn: (problem: string) => void): Redis {
	// One retry: a command must not lie in a queue of ours until Redis comes back and then go out late.
	const client = new Redis(url, { maxRetriesPerRequest: 1 });
	client.on('error', (error: Error) => warn(error.message));
	return client;
}
