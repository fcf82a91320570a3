// A connection to the broker that REDIS_URL names, also by a unix socket.
import { createClient } from '@redis/client';

export async function connect() {
  const url = process.env.REDIS_URL ?? 'redis://localhost:6379';
  const client = createClient(
    url.startsWith('unix://') ? { socket: { path: decodeURIComponent(url.slice('unix://'.length)) } } : { url },
  );
  client.on('error', (error) => console.error(error.message));
  return client.connect();
}
