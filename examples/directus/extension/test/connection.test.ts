import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { Connection } from '../src/connection.ts';
import { FakeLog } from './fakes.ts';

/** A server that answers INFO and PING as Redis does, until it is told to be silent. */
async function server(after: (work: () => void) => void) {
	const state = { silent: false, refusing: false, connections: 0 };
	const sockets = new Set<Socket>();
	const listener: Server = createServer((socket) => {
		state.connections += 1;
		sockets.add(socket);
		// Silence stays with the connection, as when a firewall has forgotten it.
		let deaf = false;
		socket.on('error', () => {});
		socket.on('data', (data) => {
			deaf ||= state.silent;
			if (deaf) return;
			for (const word of String(data).toUpperCase().match(/\b(INFO|PING|CLIENT)\b/g) ?? []) {
				if (word === 'INFO') socket.write('$18\r\nredis_version:7.0\n\r\n');
				else if (state.refusing && word === 'PING') socket.write('-NOPERM no permission for hunter2\r\n');
				else socket.write('+OK\r\n');
			}
		});
	});
	await new Promise<void>((done) => listener.listen(0, '127.0.0.1', done));
	const { port } = listener.address() as { port: number };
	const close = () => {
		for (const socket of sockets) socket.destroy();
		listener.close();
	};
	after(close);
	return { state, close, url: `redis://127.0.0.1:${port}/0` };
}

const ping = (connection: Connection) => connection.call((redis) => redis.ping(), 200);

test('a half-open connection is noticed at its deadline, and a new one says that Redis is back', async (t) => {
	const { state, url } = await server((work) => t.after(work));
	const log = new FakeLog();
	let back = 0;
	const connection = new Connection(url, 'producer', log, () => (back += 1));
	await ping(connection);
	state.silent = true;
	await assert.rejects(ping(connection), /no reply/);
	state.silent = false;
	await ping(connection);
	assert.equal(back, 1);
	assert.equal(state.connections, 2);
	assert.deepEqual(log.lines.map((line) => line.replace(/after \d+ s$/, 'after n s')), [
		'info telgw: Redis (producer) is connected',
		'error telgw: Redis (producer) does not answer: no reply within 0.2 s',
		'info telgw: Redis (producer) is back after n s',
	]);
	connection.close();
});

test('a Redis that is away is reported once', async (t) => {
	const { close, url } = await server((work) => t.after(work));
	close();
	const log = new FakeLog();
	const connection = new Connection(url, 'consumer', log);
	for (let round = 0; round < 3; round += 1) await assert.rejects(ping(connection), /ECONNREFUSED/);
	assert.equal(log.lines.length, 1);
	assert.match(log.lines[0]!, /^error .*does not answer: connect ECONNREFUSED/);
});

test('a refusal keeps the connection, and its text stays out of the log', async (t) => {
	const { state, url } = await server((work) => t.after(work));
	const log = new FakeLog();
	const connection = new Connection(url, 'producer', log);
	state.refusing = true;
	for (let round = 0; round < 2; round += 1) await assert.rejects(ping(connection), /NOPERM/);
	assert.equal(state.connections, 1);
	assert.deepEqual(log.lines, ['error telgw: Redis (producer) refuses: NOPERM']);
	connection.close();
});
