import { describe, expect, it } from 'vitest';
import { udpPacket } from '../../src/packet/index.ts';
import { DgramSocket } from '../../src/stack/index.ts';
import { type TestHost, testHost } from './hosts.ts';

/** Lets promises and packets go on, in turns. */
async function settle(host: TestHost): Promise<void> {
  for (let i = 0; i < 10; i++) {
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    host.runtime.advance('1ms');
  }
}

describe('a socket as of node:dgram', () => {
  it('binds, hears, answers and closes', async () => {
    await using host = await testHost();
    const log: string[] = [];
    const socket = new DgramSocket(host.host, 'udp4');
    socket.on('message', (bytes, info) => {
      log.push(`${bytes} ${info.address}:${info.port} ${info.family} ${info.size}`);
      socket.send('there', info.port, info.address, (error, size) => log.push(`sent ${error} ${size}`));
    });
    socket.bind(53, '10.0.0.2', () => log.push(`listening ${JSON.stringify(socket.address())}`));
    await settle(host);
    host.exchange(udpPacket({ from: '10.0.0.1:9', to: '10.0.0.2:53', payload: 'here' }));
    await settle(host);
    expect(host.port.received.length).toBe(1);
    socket.close(() => log.push('closed'));
    await settle(host);
    expect(log).toEqual([
      'listening {"address":"10.0.0.2","family":"IPv4","port":53}',
      'here 10.0.0.1:9 IPv4 4',
      'sent null 5',
      'closed',
    ]);
    expect(() => socket.close()).toThrow(/closed/);
  });

  it('sends to itself, parts of buffers too, in order', async () => {
    await using host = await testHost();
    const heard: string[] = [];
    const server = new DgramSocket(host.host, 'udp6');
    server.on('message', (bytes) => heard.push(String(bytes)));
    server.bind(7);
    await settle(host);
    const socket = new DgramSocket(host.host, 'udp6');
    const bytes = Buffer.from('abcdef');
    socket.send(bytes, 1, 3, 7, 'fd00::2');
    socket.send([bytes, bytes], 7, 'localhost');
    socket.connect(7, '::1', () => socket.send('connected'));
    bytes.fill(0);
    await settle(host);
    expect(heard).toEqual(['bcd', 'abcdefabcdef', 'connected']);
    expect(socket.remoteAddress()).toEqual({ address: '::1', family: 'IPv6', port: 7 });
  });

  it('says what goes wrong', async () => {
    await using host = await testHost();
    const errors: string[] = [];
    const socket = new DgramSocket(host.host);
    socket.send('x', 9, '192.0.2.1', (error) => errors.push(String((error as { errno?: string }).errno)));
    socket.send('x', (error) => errors.push(String((error as { errno?: string }).errno)));
    socket.on('error', (error) => errors.push(String((error as { errno?: string }).errno)));
    socket.connect(9, '10.0.0.2', () => socket.send('x'));
    await settle(host);
    expect(errors).toEqual(['ENETUNREACH', 'EDESTADDRREQ', 'ECONNREFUSED']);
  });
});
