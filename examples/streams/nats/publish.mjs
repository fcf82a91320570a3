// Publish a job straight onto JetStream and read its log: nothing of Millrace, a bare NATS client.
//   cd examples/streams/nats && npm install && NATS_URL=nats://localhost:4222 node publish.mjs
import { randomUUID } from 'node:crypto';
import { jetstream } from '@nats-io/jetstream';
import { connect } from './broker.mjs';

const connection = await connect();
const streams = jetstream(connection);
const job = `job-${randomUUID()}`; // the idempotency key: publishing it twice still runs it once
const code = 'for (let n = 0; n < 3; n++) console.log("line", n)';
await streams.publish('millrace.requests', JSON.stringify({ id: job, language: 'js', code, stdin: '' }));

const log = await streams.consumers.get('MILLRACE_LOG', { filter_subjects: `millrace.log.${job}` });
for await (const message of await log.consume()) {
  const event = message.json();
  console.log(`${event.seq} ${event.type} ${event.data ?? event.outcome ?? ''}`.trimEnd());
  if (event.type === 'finished') break;
}
await connection.close();
