import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Row } from '../src/row.ts';
import { RETRY_MS, Sender, WINDOW } from '../src/sender.ts';
import { FakeLog, FakeRedis, FakeRows, row } from './fakes.ts';

const IMEI = '352094080000000';

/** A sender on these rows; `answer` may replace what Redis says. */
function sending(rows: Row[], answer: (name: string) => unknown = () => undefined) {
	const fake = new FakeRows(rows);
	const redis = new FakeRedis(([name]) => answer(name) ?? (name === 'hget' ? 'gw-1' : '5-1'));
	const sender = new Sender(fake, redis, 'me', '', new FakeLog());
	const sent = () => redis.named('xadd').map((args) => String(args[args.indexOf('command_id') + 1]));
	return { rows: fake, redis, sender, sent };
}

test('the rows of a device are sent in their order, however often it is woken', async () => {
	const { sender, sent } = sending(['a', 'b', 'c'].map((id) => row(id)));
	await Promise.all([sender.wake(IMEI), sender.wake(IMEI), sender.wake(IMEI)]);
	assert.deepEqual(sent(), ['a', 'b', 'c']);
});

test('a device that nobody holds ends the row, without an entry', async () => {
	const { rows, sender, redis } = sending([row('a')], (name) => (name === 'hget' ? null : undefined));
	redis.call = async (work) => work({ hget: async () => null } as never);
	await sender.wake(IMEI);
	assert.deepEqual(rows.ended.map(([id, { reason, delivery }]) => [id, reason, delivery]), [
		['a', 'device_not_connected', 'not_sent'],
	]);
});

test('a row that may wait for its device goes to any live gateway, and stays here without one', async () => {
	for (const alive of ['gw-2', '']) {
		const { rows, redis, sender } = sending([row('a', { offline: 'wait' })]);
		const calls: unknown[][] = [];
		redis.call = async (work) =>
			work({
				hget: async () => null,
				hkeys: async () => ['gw-1', 'gw-2'],
				exists: async (key: string) => Number(key === `instance:heartbeat:${alive}`),
				xadd: async (...args: unknown[]) => calls.push(args),
			} as never);
		await sender.wake(IMEI);
		assert.deepEqual(calls.map(([stream]) => stream), alive ? ['commands:outbound:gw-2'] : []);
		assert.deepEqual(rows.ended, []);
	}
});

test('a row that was offered to a gateway is offered again there, and never ended here', async () => {
	const offered = { instance_id: 'gw-0', attempted_at: 1, sender: 'dead', expires_at: '2001-01-01T00:00:00Z' };
	const { rows, redis, sender } = sending([row('a', offered)]);
	const calls: unknown[][] = [];
	redis.call = async (work) => work({ hget: async () => null, xadd: async (...args: unknown[]) => calls.push(args) } as never);
	await sender.wake(IMEI);
	assert.deepEqual(rows.ended, []);
	assert.equal(calls[0]?.[0], 'commands:outbound:gw-0');
});

test('an old row that was never offered expires here', async () => {
	const { rows, sender, sent } = sending([row('a', { expires_at: '2001-01-01T00:00:00Z' })]);
	await sender.wake(IMEI);
	assert.deepEqual([rows.ended[0]?.[1].reason, sent()], ['expired', []]);
});

test('a row with a cancel that was never offered is cancelled here', async () => {
	const { rows, sender, sent } = sending([row('a', { cancel_requested: true }), row('b')]);
	await sender.wake(IMEI);
	assert.deepEqual([rows.ended[0]?.[1].reason, sent()], ['cancelled', ['b']]);
});

test('a cancel goes to the instance that holds the command, else where it was offered', async () => {
	const one = row('a', { cancel_requested: true, instance_id: 'gw-0', outbound_id: '1-1', state: 'queued' });
	const { sender, redis } = sending([one]);
	await sender.requestCancel(['a']);
	assert.deepEqual(redis.named('xadd'), [['commands:outbound:gw-1', '*', 'type', 'cancel', 'command_id', 'a']]);
});

test('a device gets no more than its window until something ends', async () => {
	const { rows, sender, sent } = sending(Array.from({ length: WINDOW + 2 }, (_, at) => row(`c${at}`)));
	await sender.wake(IMEI);
	assert.equal(sent().length, WINDOW);
	rows.rows[0]!.state = 'responded';
	await sender.wake(IMEI);
	assert.equal(sent().length, WINDOW + 1);
});

test('a row that another process has claimed holds its device, and no other one', async () => {
	const claimed = row('a', { sender: 'other', attempted_at: Date.now() });
	const { sender, sent } = sending([claimed, row('b'), row('c', { imei: '352094080000001' })]);
	await sender.sweep();
	sender.stop();
	assert.deepEqual(sent(), ['c']);
});

test('rows wait while Redis is away, are claimed only when they may arrive, and are sent later', async () => {
	let away = 'hget';
	const { rows, sender, sent } = sending([row('a'), row('b')], (name) => {
		if (name === away) throw new Error('away');
	});
	await sender.wake(IMEI);
	assert.equal(rows.rows[0]!.instance_id, null);
	away = 'xadd';
	await sender.wake(IMEI);
	assert.equal(rows.rows[0]!.instance_id, 'gw-1');
	away = '';
	await sender.wake(IMEI);
	sender.stop();
	assert.deepEqual(sent(), ['a', 'b']);
});

test('however many rows come while Redis is away, one retry is due', async ({ mock }) => {
	mock.timers.enable({ apis: ['setTimeout'] });
	let tries = 0;
	const { sender } = sending([row('a')], (name) => {
		if (name === 'hget') tries += 1;
		throw new Error('away');
	});
	for (let times = 0; times < 5; times += 1) {
		await sender.wake(IMEI);
		mock.timers.tick(RETRY_MS / 5);
	}
	tries = 0;
	for (let step = 0; step < 10; step += 1) {
		mock.timers.tick(RETRY_MS / 5);
		await new Promise(setImmediate);
	}
	assert.equal(tries, 2);
	sender.stop();
});

test('a device whose rows the database refuses does not hold up another', async () => {
	const { rows, sender, sent } = sending([row('a'), row('b', { imei: '352094080000001' })]);
	const { claim } = rows;
	rows.claim = async (one, instance) => {
		if (one.id === 'a') throw new Error('refused');
		return claim(one, instance);
	};
	await sender.sweep();
	assert.deepEqual(sent(), ['b']);
});
