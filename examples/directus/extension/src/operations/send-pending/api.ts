import { defineOperationApi } from '@directus/extensions-sdk';
import { current } from '../../service.ts';

/** Send what waits, also what was published without an event. A Flow runs it every minute. */
export default defineOperationApi({
	id: 'telgw-send-pending',
	handler: async () => {
		const service = current();
		if (!service) throw new Error('The hook "telgw" is not active.');
		return service.sender.sweep();
	},
});
