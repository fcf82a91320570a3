// Publish a job straight onto the stream and read its log: nothing of Millrace, a plain Redis client.
//   cd examples/streams && npm install && REDIS_URL=redis://localhost:6379 node publish.mjs
import { randomUUID } from 'node:crypto';
import { connect } from './broker.mjs';

const broker = await connect();
const job = `job-${randomUUID()}`; // the idempotency key: publishing it twice still runs it once
const code = 'for (let n = 0; n < 3; n++) console.log("line", n)';
await broker.xAdd('millrace:requests', '*', {
  data: JSON.stringify({ id: job, language: 'js', code, stdin: '' }),
});

let last = '0';
let event = {};
while (event.type !== 'finished') {
  const streams = await broker.xRead([{ key: `millrace:log:${job}`, id: last }], { BLOCK: 60_000 });
  for (const { id, message } of streams?.[0].messages ?? []) {
    last = id;
    event = JSON.parse(message.data);
    console.log(`${event.seq} ${event.type} ${event.data ?? event.outcome ?? ''}`.trimEnd());
  }
}
await broker.close();
