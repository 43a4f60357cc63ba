import { defineOperationApi } from '@directus/extensions-sdk';
import { COLLECTION, UNFINISHED } from '../../row.ts';

type Options = { keys: string[]; also_obeyed?: boolean | string | null };
type Command = Record<string, unknown> & { id: string; state: string; delivery: string | null };

const COPIED = ['imei', 'payload', 'codec', 'response_timeout', 'expect_response', 'offline', 'confirm', 'two_persons'];

/**
 * Create a new row for each command that was not sent, and with `also_obeyed` for each other one that has failed.
 * It reads and writes with the rights of the person who runs the Flow.
 */
export default defineOperationApi<Options>({
	id: 'telgw-send-again',
	handler: async ({ keys, also_obeyed }, { services, getSchema, accountability }) => {
		const { ItemsService } = services;
		const commands = new ItemsService(COLLECTION, { schema: await getSchema(), accountability });
		const query = { fields: ['id', 'state', 'delivery', ...COPIED], sort: ['position'], limit: -1 };
		const rows = (await commands.readMany(keys, query)) as Command[];
		const chosen = rows.filter((row) => mayRepeat(row, also_obeyed === true || also_obeyed === 'true'));
		const copies = chosen.map((row) => ({
			...Object.fromEntries(COPIED.map((name) => [name, row[name]])),
			retry_of: row.id,
		}));
		const created = copies.length > 0 ? await commands.createMany(copies) : [];
		return { created, left_out: rows.length - copies.length };
	},
});

function mayRepeat({ state, delivery }: Command, alsoObeyed: boolean): boolean {
	if (UNFINISHED.includes(state)) return false;
	return delivery === 'not_sent' || alsoObeyed;
}
