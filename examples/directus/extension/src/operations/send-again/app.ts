import { defineOperationApp } from '@directus/extensions-sdk';

export default defineOperationApp({
	id: 'telgw-send-again',
	name: 'Send commands again',
	icon: 'replay',
	description: 'Create new rows for commands that failed; retry_of names the old ones.',
	overview: () => [],
	options: [
		{ field: 'keys', name: 'Keys', type: 'json', meta: { width: 'full', interface: 'tags' } },
		{
			field: 'also_obeyed',
			name: 'Also those that the vehicle may have obeyed',
			type: 'boolean',
			meta: { width: 'full', interface: 'boolean' },
		},
	],
});
