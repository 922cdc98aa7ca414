import { describe, expect, it } from 'vitest';
import { ipv4, parseIp, UnreachableReason, udp, udpPacket, unreachable } from '../../src/packet/index.ts';
import type { UdpSocket } from '../../src/stack/index.ts';
import { testHost } from './hosts.ts';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (word: string) => new TextEncoder().encode(word);

describe('a UDP socket', () => {
  it.each([
    ['10.0.0.1:1000', '10.0.0.2:53'],
    ['[fd00::1]:1000', '[fd00::2]:53'],
  ])('gets what is sent to its port, and answers %s', async (from, to) => {
    await using host = await testHost();
    const heard: string[] = [];
    const socket: UdpSocket = host.host.udp({
      port: 53,
      onMessage(message, peer) {
        heard.push(`${peer} ${text(message)}`);
        socket.send(bytes('there'), peer);
      },
    });
    const [reply] = host.exchange(udpPacket({ from, to, payload: 'here' }));
    expect(heard).toEqual([`${from} here`]);
    const wanted = udpPacket({ from: to, to: from, payload: 'there', dontFragment: true });
    expect(reply).toEqual(wanted);
  });

  it('sends at once, outside of the packet path too, from a port that nobody can guess', async () => {
    const ports = new Set<number>();
    for (let seed = 1; seed <= 20; seed++) {
      await using host = await testHost({}, seed);
      const socket = host.host.udp();
      expect(socket.send(bytes('x'), '10.0.0.9:99')).toBe(true);
      const [packet] = host.exchange();
      expect(udp.sourcePort(packet!, 20)).toBe(socket.port);
      expect(socket.port).toBeGreaterThanOrEqual(32_768);
      ports.add(socket.port);
    }
    expect(ports.size).toBe(20);
  });

  it('with a peer hears nobody else, and goes before one without', async () => {
    await using host = await testHost();
    const heard: string[] = [];
    host.host.udp({ port: 5, onMessage: () => heard.push('any') });
    host.host.udp({ address: '10.0.0.2', port: 6, onMessage: () => heard.push('bound') });
    host.host.udp({
      address: 'fd00::2',
      port: 6,
      remote: '[fd00::1]:9',
      onMessage: () => heard.push('peer'),
    });
    host.exchange(
      udpPacket({ from: '10.0.0.1:9', to: '10.0.0.2:5' }),
      udpPacket({ from: '10.0.0.1:9', to: '10.0.0.2:6' }),
      udpPacket({ from: '[fd00::1]:9', to: '[fd00::2]:6' }),
      udpPacket({ from: '[fd00::1]:10', to: '[fd00::2]:6' }),
    );
    expect(heard).toEqual(['any', 'bound', 'peer']);
    expect(host.drops()).toEqual({ 'udp-no-socket': 1 });
  });

  it('hears what is sent to everybody, and sends so only when it may', async () => {
    await using host = await testHost();
    let heard = 0;
    const socket = host.host.udp({ port: 68, broadcast: true, onMessage: () => heard++ });
    host.exchange(
      udpPacket({ from: '10.0.0.1:67', to: '255.255.255.255:68' }),
      udpPacket({ from: '10.0.0.1:67', to: '10.0.0.255:68' }),
    );
    expect(heard).toBe(2);
    expect(socket.send(bytes('x'), '10.0.0.255:67')).toBe(true);
    expect(() => host.host.udp().send(bytes('x'), '10.0.0.255:67')).toThrow(/broadcast: true/);
  });

  it('is told who refuses its datagrams, but by nobody who did not see them', async () => {
    await using host = await testHost();
    const errors: string[] = [];
    const socket = host.host.udp({ onError: (error, to) => errors.push(`${error.errno} ${to}`) });
    socket.send(bytes('x'), '10.0.0.9:99');
    const [sent] = host.exchange();
    const error = (about: Uint8Array) => {
      const into = new Uint8Array(576);
      const reason = UnreachableReason.Port;
      const length = unreachable(about, 0, about.length, reason, parseIp('10.0.0.9').bytes, 0, into, 0);
      return into.slice(0, length);
    };
    const other = sent!.slice();
    other[19] = 10;
    ipv4.fillChecksum(other, 0);
    host.exchange(error(other));
    expect(errors).toEqual([]);
    expect(host.drops()).toEqual({ 'icmp-unwanted': 1 });
    host.exchange(error(sent!));
    expect(errors).toEqual(['ECONNREFUSED 10.0.0.9:99']);
  });

  it('cannot have a port twice, nor the address of another', async () => {
    await using host = await testHost();
    const first = host.host.udp({ address: '10.0.0.2', port: 7 });
    expect(() => host.host.udp({ port: 7 })).toThrow(/ERR_PORT_IN_USE|is taken/);
    host.host.udp({ address: 'fd00::2', port: 7 });
    expect(() => host.host.udp({ address: '10.0.0.3' })).toThrow(/is not an address of this host/);
    first.close();
    host.host.udp({ address: '10.0.0.2', port: 7 });
    expect(() => first.send(bytes('x'), '10.0.0.1:1')).toThrow(/closed/);
  });

  it('says when there is no way, and no room', async () => {
    await using host = await testHost();
    const socket = host.host.udp();
    expect(socket.send(bytes('x'), '192.0.2.1:1')).toBe(false);
    let sent = 0;
    while (socket.send(bytes('x'), '10.0.0.1:1')) sent++;
    expect(sent).toBe(1024);
  });
});

describe('datagrams longer than the path', () => {
  it('go to another stack and come back in fragments', async () => {
    await using host = await testHost();
    const socket: UdpSocket = host.host.udp({ port: 7, onMessage: (data, peer) => socket.send(data, peer) });
    const payload = Uint8Array.from({ length: 60_000 }, (_, i) => i * 7);
    const big = udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:7', payload });
    const replies = host.exchange(big);
    expect(replies.length).toBe(41);
    expect(replies.every((packet) => packet.length <= 1500 && ipv4.isFragment(packet, 0))).toBe(true);
    await using back = await testHost({ interfaces: [{ name: 'eth0', addresses: ['10.0.0.1/24'] }] });
    const heard: Uint8Array[] = [];
    back.host.udp({ port: 1, onMessage: (data) => heard.push(data) });
    back.exchange(...replies.reverse());
    expect(heard).toEqual([payload]);
  });
});
