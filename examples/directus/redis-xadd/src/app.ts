import { defineOperationApp } from '@directus/extensions-sdk';

const fields = ['command_id', 'imei', 'payload', 'codec', 'expires_at', 'response_timeout', 'expect_response', 'requested_by'];

export default defineOperationApp({
	id: 'telgw-redis-xadd',
	name: 'Send to tracker',
	icon: 'satellite_alt',
	description: 'Append a command to the stream of the gateway that holds the device.',
	overview: ({ imei, payload }) => [
		{ label: 'IMEI', text: imei },
		{ label: 'Command', text: payload },
	],
	options: fields.map((field) => ({
		field,
		name: field,
		type: 'string',
		meta: { width: 'half', interface: 'input' },
	})),
});
