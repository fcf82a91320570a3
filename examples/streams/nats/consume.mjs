// Consume results in a group: each `finished` reaches one member, at least once. A bare NATS client.
//   cd examples/streams/nats && npm install && NATS_URL=nats://localhost:4222 node consume.mjs GROUP [COUNT]
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from './broker.mjs';

const [group, count = Infinity] = process.argv.slice(2);
const connection = await connect();
const manager = await jetstreamManager(connection);
await manager.consumers.add('MILLRACE_RESULTS', { durable_name: group, ack_policy: AckPolicy.Explicit });
const results = await jetstream(connection).consumers.get('MILLRACE_RESULTS', group);

let taken = 0;
for await (const message of await results.consume({ max_messages: 10 })) {
  const result = message.json();
  // At least once: write it under its execution_id, so that the second time changes nothing. Only then
  // acknowledge. What a member that died had taken comes to another one after a while.
  console.log(result.execution_id, result.outcome);
  await message.ackAck();
  if (++taken >= Number(count)) break;
}
await connection.close();
