/**
 * Numbers new rows, keeps the fields of results from people, and starts the sender and the consumer with Directus.
 *
 * Which fields people may write is decided here and not by permissions, because Directus 12 has permissions for
 * single fields only with a licence.
 */

import { createError } from '@directus/errors';
import { defineHook } from '@directus/extensions-sdk';
import { COLLECTION, forbiddenInChange, forbiddenInNew } from '../row.ts';
import { current, startService } from '../service.ts';

type Payload = Record<string, unknown>;
type Who = { accountability: { admin?: boolean } | null };

const NotYours = createError<{ fields: string[] }>(
	'FORBIDDEN',
	({ fields }) => `Only the gateway or an administrator may set: ${fields.join(', ')}.`,
	403,
);

export default defineHook(({ init, filter, action }, context) => {
	const { env, logger } = context;
	const ttl = Number(env['TELGW_COMMAND_TTL'] ?? 300);
	let position = 0;

	filter(`${COLLECTION}.items.create`, (payload, _, who) => {
		allow(who, forbiddenInNew(payload as Payload));
		// Directus creates the rows of a batch one after the other. Microseconds, as near as the clock tells them.
		position = Math.max(Date.now() * 1000, position + 1);
		const given = payload as Payload;
		// Without it an old row would be sent whenever Redis is back.
		const expires_at = given['expires_at'] || new Date(Date.now() + ttl * 1000).toISOString();
		return { ...given, position, expires_at };
	});

	filter(`${COLLECTION}.items.update`, (payload, _, who) => {
		allow(who, forbiddenInChange(payload as Payload));
		return payload;
	});

	action(`${COLLECTION}.items.create`, ({ payload }) => {
		void current()?.sender.wake(String((payload as Payload)['imei']));
	});

	action(`${COLLECTION}.items.update`, ({ payload, keys }) => {
		if ((payload as Payload)['cancel_requested'] === true) void current()?.sender.requestCancel(keys as string[]);
	});

	init('app.after', () => {
		startService(context as never, logger);
	});

	action('server.stop', () => current()?.stop());
});

function allow({ accountability }: Who, forbidden: string[]): void {
	// Without accountability it is the extension itself, or a Flow with full access.
	if (accountability && !accountability.admin && forbidden.length > 0) throw new NotYours({ fields: forbidden });
}
