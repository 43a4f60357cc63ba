/**
 * Numbers new rows, keeps the fields of results from people, and starts the sender and the consumer with Directus.
 *
 * Which fields people may write is decided here and not by permissions, because Directus 12 has permissions for
 * single fields only with a licence.
 */

import { createError } from '@directus/errors';
import { defineHook } from '@directus/extensions-sdk';
import { COLLECTION, forbiddenInChange, forbiddenInNew, mayConfirm, type Row, WAITS } from '../row.ts';
import { current, startService } from '../service.ts';

const CONFIRMED = ['state', 'two_persons', 'confirmed_by', 'user_created'];

type Payload = Record<string, unknown>;
type Who = { accountability: { admin?: boolean; user?: string | null } | null };

const NotYours = createError<{ fields: string[] }>(
	'FORBIDDEN',
	({ fields }) => `Only the gateway or an administrator may set: ${fields.join(', ')}.`,
	403,
);

const NotSecond = createError(
	'FORBIDDEN',
	'A command is confirmed by another person than the one who asked for it, once, while it waits for that.',
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
		return { ...given, position, expires_at, ...(given['two_persons'] === true ? { summary: WAITS } : {}) };
	});

	filter(`${COLLECTION}.items.update`, async (payload, { keys }, who) => {
		allow(who, forbiddenInChange(payload as Payload));
		if ((payload as Payload)['confirmed'] !== true) return payload;
		const user = (who as Who).accountability?.user ?? null;
		const rows: Row[] = await who.database(COLLECTION).whereIn('id', keys).select(CONFIRMED);
		if (!rows.every((row) => mayConfirm(row, user))) throw new NotSecond();
		return { ...(payload as Payload), confirmed_by: user, summary: null };
	});

	action(`${COLLECTION}.items.create`, ({ payload }) => {
		void current()?.sender.wake(String((payload as Payload)['imei']));
	});

	action(`${COLLECTION}.items.update`, ({ payload, keys }) => {
		if ((payload as Payload)['cancel_requested'] === true) void current()?.sender.requestCancel(keys as string[]);
		// An error is tried again by the schedule.
		if ((payload as Payload)['confirmed'] === true) void current()?.sender.sweep().catch(() => {});
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
