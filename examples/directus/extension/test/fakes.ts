/** Rows, a Redis and a log in memory. */

import type { Redis } from 'ioredis';
import type { Event, Row, Verdict } from '../src/row.ts';
import type { Rows } from '../src/rows.ts';

export function row(id: string, changes: Partial<Row> = {}): Row {
	return {
		id, imei: '352094080000000', payload: 'getinfo', codec: null, expires_at: null, response_timeout: null,
		expect_response: true, offline: 'fail', retry_of: null, confirm: false, two_persons: false,
		confirmed_by: null, user_created: null, state: 'pending',
		cancel_requested: false, position: 1, sender: null, attempted_at: null, instance_id: null, outbound_id: null,
		...changes,
	};
}

export class FakeRows implements Rows {
	applied: Event[] = [];
	states: Event[] = [];
	ended: [string, Verdict][] = [];
	/** Commands whose events the database refuses. */
	bad = new Set<string>();
	/** How often `check` fails before the database is back. */
	away = 0;

	constructor(readonly rows: Row[] = []) {}

	devicesToSend = async () => [...new Set(this.#unsent().map(({ imei }) => imei))];
	next = async (imei: string) => this.#unsent().find((one) => one.imei === imei);
	inFlight = async (imei: string) =>
		this.rows.filter((one) => one.imei === imei && one.outbound_id !== null && one.state !== 'responded').length;
	claim = async (one: Row, instance: string | null) => {
		Object.assign(one, { sender: 'me', attempted_at: Date.now(), instance_id: instance ?? one.instance_id });
		return true;
	};
	published = async (one: Row, entry: string) => void (one.outbound_id = entry);
	end = async (one: Row, given: Verdict) => {
		one.state = given.state;
		this.ended.push([one.id, given]);
	};
	reopen = async () => {};
	refuseLateCancels = async (ids: string[]) => this.rows.filter(({ id }) => ids.includes(id)).map(({ imei }) => imei);
	cancels = async () => this.rows.filter((one) => one.cancel_requested && one.instance_id !== null);
	cancelTried = async () => {};
	overdue = async () => 0;
	apply = async (event: Event) => {
		if (this.away > 0 || this.bad.has(event['command_id']!)) {
			throw Object.assign(new Error(`update with the values ${JSON.stringify(event)}`), { code: 'REFUSED' });
		}
		this.applied.push(event);
		return event['terminal'] === '1' ? event['imei']! : null;
	};
	applyState = async (event: Event) => {
		this.states.push(event);
		return null;
	};
	check = async () => {
		if (this.away-- > 0) throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' });
		this.away = 0;
	};

	#unsent(): Row[] {
		return this.rows.filter(
			(one) => one.state === 'pending' && one.outbound_id === null && !(one.cancel_requested && one.instance_id !== null),
		);
	}
}

type Call = [name: string, ...args: unknown[]];

/** Answers calls with `answer`, which may throw; remembers them. */
export class FakeRedis {
	calls: Call[] = [];

	constructor(private readonly answer: (call: Call) => unknown) {}

	async call<T>(work: (redis: Redis) => Promise<T>): Promise<T> {
		const redis = new Proxy({}, { get: (_, name) => async (...args: unknown[]) => this.#called([String(name), ...args]) });
		return work(redis as Redis);
	}

	/** The calls of one name, without it. */
	named(name: string): unknown[][] {
		return this.calls.filter(([called]) => called === name).map(([, ...args]) => args);
	}

	#called(call: Call): unknown {
		const answer = this.answer(call);
		this.calls.push(call);
		return answer;
	}
}

export class FakeLog {
	lines: string[] = [];
	info = (text: string) => void this.lines.push(`info ${text}`);
	warn = (text: string) => void this.lines.push(`warn ${text}`);
	error = (text: string) => void this.lines.push(`error ${text}`);
}
