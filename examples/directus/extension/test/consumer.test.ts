import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Consumer, TRIES } from '../src/consumer.ts';
import { FakeLog, FakeRedis, FakeRows } from './fakes.ts';

const A = '11111111-1111-4111-8111-111111111111';
const B = '22222222-2222-4222-8222-222222222222';

type Fields = Record<string, string>;

/** A consumer that finds these events, in one batch. */
function consuming(events: Fields[], rows = new FakeRows()) {
	let batch: unknown = [['commands:responses', events.map((fields, at) => [`${at + 1}-0`, Object.entries(fields).flat()])]];
	const redis = new FakeRedis(([name]) => {
		if (name === 'xautoclaim') return ['0-0', []];
		if (name !== 'xreadgroup') return 1;
		const read = batch;
		batch = null;
		return read;
	});
	const log = new FakeLog();
	const ended: string[] = [];
	const consumer = new Consumer(rows, redis, '', log, (imei) => ended.push(imei), async () => {});
	const acknowledged = () => redis.named('xack').map((args) => args[2]);
	return { rows, consumer, log, ended, acknowledged };
}

/** Run rounds, each after the time at which a failed entry is due. */
async function rounds(consumer: Consumer, count: number, clock: { tick: (ms: number) => void }): Promise<void> {
	for (let round = 0; round < count; round += 1) {
		await consumer.read();
		clock.tick(60_000);
	}
}

const event = (command_id: string, more: Fields = {}): Fields => ({ kind: 'command', command_id, seq: '1', ...more });

test('every entry is acknowledged, after its row', async () => {
	const { rows, consumer, acknowledged } = consuming([event(A), event(B)]);
	await consumer.read();
	assert.deepEqual(rows.applied.map((one) => one['command_id']), [A, B]);
	assert.deepEqual(acknowledged(), ['1-0', '2-0']);
});

test('sessions and commands of other producers are acknowledged, and touch no row', async () => {
	const { rows, consumer, acknowledged } = consuming([{ kind: 'session', imei: '1' }, event('from-a-script')]);
	await consumer.read();
	assert.deepEqual([rows.applied, acknowledged()], [[], ['1-0', '2-0']]);
});

test('the device of an ended command is told', async () => {
	const { consumer, ended } = consuming([event(A), event(A, { seq: '2', terminal: '1', imei: '7' })]);
	await consumer.read();
	assert.deepEqual(ended, ['7']);
});

test('a row that refuses its event holds up no other, and is given up loudly', async ({ mock }) => {
	mock.timers.enable({ apis: ['Date'] });
	const rows = new FakeRows();
	rows.bad.add(A);
	const { consumer, log, acknowledged } = consuming([event(A, { response: 'a secret' }), event(B)], rows);
	await rounds(consumer, TRIES - 1, mock.timers);
	assert.deepEqual(acknowledged(), ['2-0']);
	await rounds(consumer, 1, mock.timers);
	assert.deepEqual(acknowledged(), ['2-0', '1-0']);
	assert.deepEqual(rows.states.map((one) => one['command_id']), [A]);
	assert.match(log.lines.join('\n'), /^error .*given up after 5 tries; only its state is stored$/);
	assert.doesNotMatch(log.lines.join('\n'), /a secret/);
});

test('a row that recovers is not given up', async ({ mock }) => {
	mock.timers.enable({ apis: ['Date'] });
	const rows = new FakeRows();
	rows.bad.add(A);
	const { consumer, log, acknowledged } = consuming([event(A)], rows);
	await rounds(consumer, 2, mock.timers);
	rows.bad.clear();
	await rounds(consumer, 1, mock.timers);
	assert.deepEqual([acknowledged(), log.lines], [['1-0'], []]);
});

test('while the database is away nothing is given up, and it is said once', async ({ mock }) => {
	mock.timers.enable({ apis: ['Date'] });
	const rows = new FakeRows();
	rows.away = TRIES * 4;
	const { consumer, log, acknowledged } = consuming([event(A)], rows);
	await rounds(consumer, 2, mock.timers);
	assert.deepEqual([rows.applied.length, acknowledged()], [1, ['1-0']]);
	assert.equal(log.lines.length, 2);
	assert.match(log.lines[0]!, /database cannot be used/);
	assert.match(log.lines[1]!, /database is back/);
});
