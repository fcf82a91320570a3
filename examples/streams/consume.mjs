// Consume results in a group: each `finished` reaches one member, at least once. A plain Redis client.
//   cd examples/streams && npm install && REDIS_URL=redis://localhost:6379 node consume.mjs GROUP [COUNT]
import { hostname } from 'node:os';
import { connect } from './broker.mjs';

const RESULTS = 'millrace:results';
const ABANDONED_AFTER_MS = 60_000;

const [group, count = Infinity] = process.argv.slice(2);
const member = `${hostname()}-${process.pid}`;
const broker = await connect();
await broker.xGroupCreate(RESULTS, group, '0', { MKSTREAM: true }).catch((error) => {
  if (!error.message.includes('BUSYGROUP')) throw error; // else another member made it
});

// What a dead member left behind, then what is new, for ever.
async function* take() {
  for (;;) {
    const left = await broker.xAutoClaim(RESULTS, group, member, ABANDONED_AFTER_MS, '0');
    yield* left.messages.filter((entry) => entry !== null);
    const [fresh] =
      (await broker.xReadGroup(group, member, { key: RESULTS, id: '>' }, { COUNT: 10, BLOCK: 5000 })) ?? [];
    yield* fresh?.messages ?? [];
  }
}

let taken = 0;
for await (const { id, message } of take()) {
  const result = JSON.parse(message.data);
  // At least once: noted under its key, a result that comes twice changes nothing. Acknowledged after that.
  await broker.hSet(`${group}:outcomes`, result.execution_id, result.outcome);
  await broker.xAck(RESULTS, group, id);
  console.log(result.execution_id, result.outcome);
  if (++taken >= Number(count)) break;
}
await broker.close();
