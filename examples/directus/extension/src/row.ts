/**
 * A row of the collection `commands`, and what it becomes on the gateway's stream.
 *
 * Nothing here talks to Redis or to the database. `docs/contract.md` of the gateway describes the fields of an
 * entry and of an event.
 */

export const COLLECTION = 'commands';

export type Row = {
	id: string;
	imei: string;
	payload: string;
	codec: string | null;
	expires_at: string | null;
	response_timeout: number | string | null;
	expect_response: boolean | number | null;
	offline: string | null;
	retry_of: string | null;
	user_created: string | null;
	state: string;
	cancel_requested: boolean | number | null;
	/** Whoever asks confirms a command for which the gateway requires it. */
	confirm: boolean | number | null;
	/** The row waits until another person has confirmed it. */
	two_persons: boolean | number | null;
	/** That other person. */
	confirmed_by: string | null;
	/** Order of the rows of one device. */
	position: number | string | null;
	/** The Directus process that sends the row. */
	sender: string | null;
	/** Epoch ms of the last attempt to send. */
	attempted_at: number | string | null;
	/** The gateway instance it was offered to. A row without one has certainly not been sent. */
	instance_id: string | null;
	/** The entry on that instance's stream. */
	outbound_id: string | null;
};

/** What a person who is no administrator may say in a new row. */
const ASKED = [
	'imei', 'payload', 'codec', 'expires_at', 'response_timeout', 'expect_response', 'offline', 'confirm', 'two_persons',
	'retry_of', 'cancel_requested',
];

/** The fields that such a person may not set in a new row. */
export function forbiddenInNew(payload: Record<string, unknown>): string[] {
	return Object.keys(payload).filter((name) => !ASKED.includes(name));
}

/** What such a person may say of a row that is there, for good. */
const SAID_LATER = ['cancel_requested', 'confirmed'];

/** The fields that such a person may not change. */
export function forbiddenInChange(payload: Record<string, unknown>): string[] {
	return Object.keys(payload).filter((name) => !SAID_LATER.includes(name) || payload[name] !== true);
}

/** Whether `user` may be the second person of this row: another one than the first, while the row waits for one. */
export function mayConfirm(row: Pick<Row, 'state' | 'two_persons' | 'confirmed_by' | 'user_created'>, user: string | null): boolean {
	if (!user || !row.user_created || row.user_created === user) return false;
	return row.state === 'pending' && Boolean(row.two_persons) && row.confirmed_by === null;
}

/** What a row says that waits for a second person. */
export const WAITS = 'Waits until a second person has confirmed it.';

export type Event = Record<string, string>;

/** The fields that the sender reads. */
export const ROW_FIELDS = [
	'id', 'imei', 'payload', 'codec', 'expires_at', 'response_timeout', 'expect_response', 'offline', 'retry_of',
	'confirm', 'two_persons', 'confirmed_by', 'user_created', 'state', 'cancel_requested', 'position', 'sender', 'attempted_at', 'instance_id', 'outbound_id',
];

/** The states of a command that has no verdict yet; `pending` is Directus' own, before any event. */
export const UNFINISHED = ['pending', 'queued', 'sent'];

/** The fields of the outbound entry of a row, flat, as XADD takes them. */
export function entryOf(row: Row): string[] {
	const fields: Record<string, string | null> = {
		command_id: row.id,
		imei: row.imei,
		payload: row.payload,
		codec: row.codec,
		expires_at: row.expires_at,
		response_timeout: row.response_timeout === null ? null : String(row.response_timeout),
		expect_response: row.expect_response === null ? null : row.expect_response ? '1' : '0',
		// The gateway's own default is `fail`; a gateway that does not know the field ignores it.
		offline: row.offline === 'wait' ? 'wait' : null,
		confirm: row.confirm ? '1' : null,
		requested_by: row.user_created,
		confirmed_by: row.confirmed_by,
		retry_of: row.retry_of,
	};
	return Object.entries(fields).flatMap(([name, value]) => (value === null || value === '' ? [] : [name, value]));
}

export type Verdict = { state: string; reason: string | null; delivery: string; detail?: string | null };

/** The verdicts that Directus gives itself, each before the row was offered to any gateway. */
export const NOT_CONNECTED: Verdict = { state: 'failed', reason: 'device_not_connected', delivery: 'not_sent' };
export const CANCELLED: Verdict = { state: 'failed', reason: 'cancelled', delivery: 'not_sent' };
export const EXPIRED: Verdict = { state: 'timeout', reason: 'expired', delivery: 'not_sent' };

/** What an event changes in its row. */
export function changesOf(event: Event): Record<string, unknown> {
	const changes: Record<string, unknown> = {
		...verdict({
			state: event['state'] ?? '',
			reason: event['reason'] || null,
			delivery: event['delivery'] ?? '',
			detail: event['detail'] || null,
		}),
		last_seq: Number(event['seq']),
	};
	copy(event, changes, 'instance_id', 'outbound_id', 'attribution');
	const answer = answerOf(event);
	if (answer !== null) changes['response'] = answer;
	if (event['rtt_ms']) changes['rtt_ms'] = Number(event['rtt_ms']);
	if (event['state'] === 'sent') changes['sent_at'] = event['at'];
	if (event['terminal'] === '1') changes['finished_at'] = event['at'];
	return changes;
}

/** The fields of a verdict, with a sentence for people. */
export function verdict(given: Verdict): Record<string, unknown> {
	return { detail: null, ...given, summary: summary(given) };
}

/** The answer in an event or a note: text, or hex if it is not printable. */
export function answerOf(event: Event): string | null {
	const cut = event['truncated'] === '1' ? ' [cut]' : '';
	const answer = event['response'] ?? event['response_hex'];
	return answer === undefined ? null : asCell(answer) + cut;
}

/** The text with a ' in front if a spreadsheet would run it: rows are exported as CSV, and a device may say anything. */
function asCell(text: string): string {
	return /^\s*[=+\-@]/.test(text) || /^[\t\r]/.test(text) ? `'${text}` : text;
}

/** What to tell people; the pair of state and delivery decides. */
export function summary({ state, reason, delivery }: Verdict): string {
	if (state === 'queued') return 'Accepted. Waits for its turn.';
	if (state === 'sent') return 'Sent. Waits for the answer.';
	if (state === 'responded') return 'Answered.';
	if (state === 'delivered') return 'The tracker has received it.';
	if (delivery === 'answered') return 'The tracker refused.';
	if (delivery === 'not_sent') return `Not sent (${words(reason)}). It is safe to send it again.`;
	return `No answer (${words(reason)}). The vehicle may have obeyed.`;
}

/** What to tell people about a cancel that the gateway refused. */
export function cancelResult(detail: string): string {
	if (detail === 'sent') return 'Too late: it was sent already.';
	if (detail === 'terminal') return 'Too late: it has ended already.';
	return `Not cancelled: ${words(detail)}.`;
}

function words(reason: string | null): string {
	return (reason ?? 'unknown').replaceAll('_', ' ');
}

function copy(event: Event, changes: Record<string, unknown>, ...names: string[]): void {
	for (const name of names) if (event[name]) changes[name] = event[name];
}
