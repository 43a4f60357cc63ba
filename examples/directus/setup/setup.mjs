#!/usr/bin/env node
/**
 * Makes the collection, its relations and its view, the permissions and the Flows in a running Directus. Repeatable: what is
 * there already is brought to the state of these files, and nothing else is touched.
 *
 *   DIRECTUS_URL=http://127.0.0.1:8055 DIRECTUS_TOKEN=... node setup.mjs
 *
 * Instead of DIRECTUS_TOKEN: ADMIN_EMAIL and ADMIN_PASSWORD. Node.js 20 or later; no packages.
 */

import { readFileSync } from 'node:fs';

const BASE = (process.env.DIRECTUS_URL ?? 'http://127.0.0.1:8055').replace(/\/$/, '');
const EXTENSION = 'directus-extension-telgw';
let token = process.env.DIRECTUS_TOKEN;

class Refused extends Error {
	constructor(status, text) {
		super(text);
		this.status = status;
	}
}

try {
	token ??= await logIn();
	await collection(file('schema.json'));
	await access(file('access.json'));
	await view(file('view.json'));
	for (const entry of file('flows.json')) await flow(entry);
	await extension();
} catch (error) {
	console.error(error instanceof Refused ? error.message : `Directus does not answer at ${BASE}: ${error.cause?.code ?? error.message}`);
	process.exitCode = 1;
}

async function collection({ collection, fields, relations }) {
	const name = collection.collection;
	const there = (await api('GET', '/collections')).find((one) => one.collection === name);
	if (!there) {
		await api('POST', '/collections', { ...collection, fields });
		say('collection', name, 'created');
	} else {
		await bring('collection', name, there, { meta: collection.meta }, `/collections/${name}`);
		const present = new Map((await api('GET', `/fields/${name}`)).map((field) => [field.field, field]));
		for (const field of fields) await oneField(name, field, present.get(field.field));
	}
	const linked = (await api('GET', `/relations/${name}`)).map((relation) => relation.field);
	for (const relation of relations) {
		if (linked.includes(relation.field)) continue;
		await api('POST', '/relations', relation);
		say('relation', relation.field, 'created');
	}
}

async function oneField(name, field, there) {
	if (!there) {
		await api('POST', `/fields/${name}`, field);
		say('field', field.field, 'created');
	} else {
		// A key cannot be changed, and an index is made once.
		const { is_primary_key, has_auto_increment, is_indexed, ...schema } = field.schema ?? {};
		const wanted = { type: field.type, meta: { ...field.meta }, ...(is_primary_key || !field.schema ? {} : { schema }) };
		// Directus adds this for databases that do not keep the time zone.
		if (field.meta.special && there.meta?.special?.includes('cast-timestamp')) {
			wanted.meta.special = [...field.meta.special, 'cast-timestamp'];
		}
		// SQLite has no type for these two; Directus reads them back as another one.
		if (there.type === { uuid: 'string', timestamp: 'dateTime' }[field.type]) delete wanted.type;
		await bring('field', field.field, there, wanted, `/fields/${name}/${field.field}`);
	}
}

async function access({ policy, permissions, role, access }) {
	await item('policy', '/policies', policy);
	const present = await api('GET', `/permissions?limit=-1&filter[policy][_eq]=${policy.id}`);
	for (const permission of permissions) {
		const wanted = { permissions: null, validation: null, presets: null, ...permission, policy: policy.id };
		const name = `${permission.action} ${permission.collection}`;
		const there = present.find((one) => `${one.action} ${one.collection}` === name);
		if (there) await bring('permission', name, there, wanted, `/permissions/${there.id}`);
		else {
			await api('POST', '/permissions', wanted);
			say('permission', name, 'created');
		}
	}
	await item('role', '/roles', role);
	const [attached] = await api('GET', `/access?filter[role][_eq]=${role.id}&filter[policy][_eq]=${policy.id}`);
	if (!attached) await api('POST', '/access', { id: access, role: role.id, policy: policy.id });
}

/** The columns of the list, for everybody who has not chosen others. */
async function view(wanted) {
	const unowned = 'filter[user][_null]=true&filter[role][_null]=true&filter[bookmark][_null]=true';
	const [there] = await api('GET', `/presets?filter[collection][_eq]=${wanted.collection}&${unowned}`);
	if (there) return say('view', wanted.collection, 'unchanged');
	await api('POST', '/presets', wanted);
	say('view', wanted.collection, 'created');
}

async function flow({ flow, operation }) {
	await item('flow', '/flows', flow);
	await item('operation', '/operations', { ...operation, flow: flow.id });
	await bring('flow', flow.name, await api('GET', `/flows/${flow.id}`), { operation: operation.id }, `/flows/${flow.id}`, true);
}

async function item(kind, path, wanted) {
	const [there] = await api('GET', `${path}?filter[id][_eq]=${wanted.id}`);
	if (there) return bring(kind, wanted.name, there, wanted, `${path}/${wanted.id}`);
	await api('POST', path, wanted);
	say(kind, wanted.name, 'created');
}

async function bring(kind, name, there, wanted, path, quiet = false) {
	if (same(there, wanted)) return quiet || say(kind, name, 'unchanged');
	await api('PATCH', path, wanted);
	quiet || say(kind, name, 'updated');
}

/** Whether `there` has everything that `wanted` names. */
function same(there, wanted) {
	if (Array.isArray(wanted)) {
		return Array.isArray(there) && there.length === wanted.length && wanted.every((value, at) => same(there[at], value));
	}
	if (wanted !== null && typeof wanted === 'object') {
		return Object.entries(wanted).every(([key, value]) => same(there?.[key] ?? null, value));
	}
	if (wanted === null || wanted === undefined) return there === null || there === undefined;
	// Databases have their own words for true and false.
	return there === wanted || (typeof wanted === 'boolean' && Number(there) === Number(wanted));
}

async function extension() {
	const all = await api('GET', '/extensions');
	const bundle = all.find((one) => one.schema?.name === EXTENSION);
	if (!bundle) console.error(`The extension ${EXTENSION} is not loaded: copy it to the extensions folder, restart Directus, and read its log.`);
	else if (bundle.meta?.enabled === false) console.error(`The extension ${EXTENSION} is switched off in the settings.`);
	else return say('extension', EXTENSION, 'loaded');
	process.exitCode = 1;
}

async function logIn() {
	const { ADMIN_EMAIL: email, ADMIN_PASSWORD: password } = process.env;
	if (!email || !password) throw new Refused(0, 'Set DIRECTUS_TOKEN, or ADMIN_EMAIL and ADMIN_PASSWORD.');
	return (await api('POST', '/auth/login', { email, password })).access_token;
}

async function api(method, path, body, tries = 10) {
	const reply = await fetch(BASE + path, {
		method,
		headers: { 'Content-Type': 'application/json', ...(token ? { Authorization: `Bearer ${token}` } : {}) },
		body: body === undefined ? undefined : JSON.stringify(body),
	});
	const text = await reply.text();
	// It has just started, or has too much to do.
	if (reply.status === 503 && tries > 1) {
		await new Promise((resolve) => setTimeout(resolve, 1000));
		return api(method, path, body, tries - 1);
	}
	if (!reply.ok) throw new Refused(reply.status, `${method} ${path}: ${reply.status} ${text.slice(0, 300)}`);
	return text ? JSON.parse(text).data : null;
}

function file(name) {
	return JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
}

function say(kind, name, what) {
	console.log(`${what.padEnd(9)} ${kind} ${name}`);
}
