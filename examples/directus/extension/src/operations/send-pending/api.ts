import { defineOperationApi } from '@directus/extensions-sdk';
import { service } from '../../service.ts';

/** Send what waits, also what was published without an event. A Flow runs it every minute. */
export default defineOperationApi({
	id: 'telgw-send-pending',
	handler: () => service().sender.sweep(),
});
