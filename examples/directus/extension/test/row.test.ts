import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changesOf, entryOf, forbiddenInChange, forbiddenInNew, mayConfirm, summary } from '../src/row.ts';
import { row } from './fakes.ts';

test('an entry has the text as it is, and no field without a value', () => {
	assert.deepEqual(entryOf(row('c1', { payload: '  getinfo ', codec: '' })), [
		'command_id', 'c1', 'imei', '352094080000000', 'payload', '  getinfo ', 'expect_response', '1',
	]);
});

test('an entry has every option of the row', () => {
	const given = row('c1', {
		codec: '14', expires_at: '2030-01-01T00:00:00Z', response_timeout: 7.5, expect_response: 0, offline: 'wait',
		confirm: true, two_persons: true, confirmed_by: 'u2', user_created: 'u1', retry_of: 'c0',
	});
	assert.equal(
		entryOf(given).slice(6).join(' '),
		'codec 14 expires_at 2030-01-01T00:00:00Z response_timeout 7.5 expect_response 0 offline wait confirm 1 requested_by u1 ' +
			'confirmed_by u2 retry_of c0',
	);
});

test('an event changes its row, and an empty reason is none', () => {
	const event = {
		seq: '3', state: 'responded', reason: '', delivery: 'answered', response: 'OK', terminal: '1', at: 'now', rtt_ms: '12',
	};
	assert.deepEqual(changesOf(event), {
		state: 'responded', reason: null, delivery: 'answered', detail: null, summary: 'Answered.', last_seq: 3,
		response: 'OK', rtt_ms: 12, finished_at: 'now',
	});
});

test('an event without an answer leaves the answer of the row alone', () => {
	assert.ok(!('response' in changesOf({ seq: '2', state: 'sent', delivery: 'maybe_sent', at: 'now' })));
});

test('an answer that is cut says so, and hex stands for what is not printable', () => {
	assert.equal(changesOf({ seq: '3', state: 'responded', response_hex: '00ff', truncated: '1' })['response'], '00ff [cut]');
});

test('an answer is no formula for a spreadsheet that opens an export', () => {
	const stored = (response: string) => changesOf({ seq: '3', state: 'responded', response })['response'];
	for (const formula of ['=HYPERLINK("http://x","y")', '+1', '-1', '@SUM(1)', ' =1', '\t=1', '\r1']) {
		assert.equal(stored(formula), `'${formula}`);
	}
	assert.equal(stored('Lat:54.1 = ok'), 'Lat:54.1 = ok');
});

test('only what was not sent is called safe to repeat', () => {
	const failed = (delivery: string) => summary({ state: 'failed', reason: 'connection_lost', delivery });
	assert.match(failed('not_sent'), /safe to send it again/);
	for (const delivery of ['maybe_sent', 'received']) assert.match(failed(delivery), /may have obeyed/);
	assert.equal(failed('answered'), 'The tracker refused.');
});

test('people may ask and cancel, and nothing else', () => {
	assert.deepEqual(forbiddenInNew({ imei: '1', payload: 'x', state: 'responded', position: 0 }), ['state', 'position']);
	assert.deepEqual(forbiddenInChange({ cancel_requested: true }), []);
	assert.deepEqual(forbiddenInChange({ confirmed: true }), []);
	assert.deepEqual(forbiddenInChange({ confirmed: false, confirmed_by: 'u2' }), ['confirmed', 'confirmed_by']);
	assert.deepEqual(forbiddenInChange({ cancel_requested: false, response: 'forged' }), ['cancel_requested', 'response']);
});

test('a row that waits for a second person is confirmed once, by somebody else', () => {
	const waiting = row('c1', { two_persons: 1, user_created: 'u1' });
	assert.ok(mayConfirm(waiting, 'u2'));
	for (const user of ['u1', null]) assert.ok(!mayConfirm(waiting, user));
	for (const other of [{ state: 'queued' }, { two_persons: 0 }, { confirmed_by: 'u3' }, { user_created: null }]) {
		assert.ok(!mayConfirm({ ...waiting, ...other }, 'u2'));
	}
});
