import { defineOperationApp } from '@directus/extensions-sdk';

export default defineOperationApp({
	id: 'telgw-send-pending',
	name: 'Send pending commands',
	icon: 'satellite_alt',
	description: 'Send the commands to trackers that are still pending, in their order.',
	overview: () => [],
	options: [],
});
