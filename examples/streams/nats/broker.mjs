// A connection to the server that NATS_URL names, with the user it names.
import { connect as connectTo } from '@nats-io/transport-node';

export function connect() {
  const url = new URL(process.env.NATS_URL ?? 'nats://localhost:4222');
  const { host, username, password } = url;
  return connectTo({ servers: host, ...(username && { user: username, pass: decodeURIComponent(password) }) });
}
