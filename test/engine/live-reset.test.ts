import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { expect, it } from 'vitest';
import { resetSocket } from '../../src/engine/live-reset.ts';

it.each([
  ['in the moment of its end', true],
  ['while both directions are open', false],
])('a socket that is reset %s is closed, and the peer hears of it', async (_, ends) => {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const [[peer]] = await Promise.all([once(server, 'connection'), once(socket, 'connect')]);
  const errors: unknown[] = [];
  socket.on('error', (error) => errors.push(error));
  const heard = ends ? once(peer, 'end') : once(peer, 'error');
  peer.resume();
  const closed = once(socket, 'close');
  if (ends) socket.end();
  resetSocket(socket);
  await closed;
  await heard;
  expect(errors).toEqual([]);
  peer.destroy();
  server.close();
});
