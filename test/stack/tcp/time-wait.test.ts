/** A SYN that comes while the connection of the same name is in TIME-WAIT (RFC 6191; RFC 9293, 3.6.1). */
import { describe, expect, it } from 'vitest';
import { tcpPacket } from '../../../src/packet/build.ts';
import * as tcp from '../../../src/packet/tcp.ts';
import { testHost } from '../hosts.ts';

const { Flag } = tcp;
const FROM = '10.0.0.1:5000';
const TO = '10.0.0.2:7';
const ISN = 0xffff_ff00;
const STAMP = 0x7fff_fff0;

interface Say {
  seq: number;
  ack?: number;
  flags: number;
  stamp?: number;
}

/** A listener whose only connection has just gone into TIME-WAIT: it ended first. */
async function waiting(timestamps: boolean, options = {}) {
  const host = await testHost();
  const accepted: number[] = [];
  host.host.listen({ port: 7, ...options }, (connection) => {
    accepted.push(host.runtime.now());
    connection.end();
    return {};
  });
  const say = ({ seq, ack = 0, flags, stamp }: Say) =>
    host
      .exchange(
        tcpPacket({
          from: FROM,
          to: TO,
          sequence: seq >>> 0,
          acknowledgment: ack,
          flags,
          window: 8192,
          tcpOptions: stamp === undefined ? {} : { timestamps: { value: stamp >>> 0, echo: 0 } },
        }),
      )
      .map((bytes) => tcp.parse(bytes, 20)!);
  const stamp = timestamps ? STAMP : undefined;
  const [answer] = say({ seq: ISN, flags: Flag.Syn, stamp });
  const [fin] = say({ seq: ISN + 1, ack: answer!.sequence + 1, flags: Flag.Ack, stamp });
  expect(fin!.flags & Flag.Fin).toBe(Flag.Fin);
  say({ seq: ISN + 1, ack: fin!.sequence + 1, flags: Flag.Ack | Flag.Fin, stamp });
  expect(host.host.tcp.timeWaits).toBe(1);
  return { ...host, say, accepted, nxt: (fin!.sequence + 1) >>> 0 };
}

/** After the SYN and the FIN of the first connection. */
const NEXT = ISN + 2;

const CASES: [string, boolean, Omit<Say, 'flags'>, boolean, object?][] = [
  ['a later time stamp, whatever its number', true, { seq: NEXT - 5000, stamp: STAMP + 1 }, true],
  ['a later time stamp, beyond the sign', true, { seq: NEXT - 5000, stamp: STAMP + 0x100 }, true],
  ['an earlier time stamp, whatever its number', true, { seq: NEXT + 5000, stamp: STAMP - 1 }, false],
  ['the same time stamp and a later number', true, { seq: NEXT + 1, stamp: STAMP }, true],
  ['the same time stamp and an earlier number', true, { seq: NEXT - 1, stamp: STAMP }, false],
  ['none though there were, and a later number', true, { seq: NEXT + 5000 }, true],
  ['none though there were, and an earlier number', true, { seq: NEXT - 5000 }, false],
  ['a time stamp though there was none, and an earlier number', false, { seq: NEXT - 5000, stamp: 1 }, true],
  ['no time stamps at all and a later number', false, { seq: NEXT + 1 }, true],
  ['no time stamps at all and an earlier number', false, { seq: NEXT - 1 }, false],
  [
    'a time stamp that will not be used, and an earlier number',
    false,
    { seq: NEXT - 5000, stamp: STAMP + 1 },
    false,
    { timestamps: false },
  ],
];

describe('a SYN in TIME-WAIT', () => {
  for (const [name, before, syn, opens, options] of CASES) {
    it(`${opens ? 'opens' : 'opens nothing'}: ${name}`, async () => {
      await using host = await waiting(before, options);
      const answers = host.say({ ...syn, flags: Flag.Syn });
      expect(answers).toHaveLength(1);
      if (opens) {
        expect(answers[0]).toMatchObject({
          flags: Flag.Syn | Flag.Ack,
          acknowledgment: (syn.seq + 1) >>> 0,
        });
        expect(host.host.tcp).toMatchObject({ timeWaits: 0, connections: 1 });
        host.say({
          ...syn,
          seq: syn.seq + 1,
          ack: answers[0]!.sequence + 1,
          flags: Flag.Ack,
        });
        expect(host.accepted).toHaveLength(2);
      } else {
        // What the old connection expects: a peer that knows nothing of it answers with a RST.
        expect(answers[0]).toMatchObject({ flags: Flag.Ack, sequence: host.nxt, acknowledgment: NEXT >>> 0 });
        expect(host.host.tcp).toMatchObject({ timeWaits: 1, connections: 0 });
      }
    });
  }

  it('begins with numbers beyond those of the old connection', async () => {
    await using host = await waiting(true);
    const [answer] = host.say({ seq: NEXT + 1, stamp: STAMP + 1, flags: Flag.Syn });
    expect((answer!.sequence - host.nxt) | 0).toBeGreaterThan(0);
  });

  it('is a new connection after a minute, and no RST ends the wait before (RFC 1337)', async () => {
    await using host = await waiting(true);
    host.runtime.advance('59s');
    expect(host.say({ seq: NEXT, flags: Flag.Rst })).toEqual([]);
    expect(host.host.tcp.timeWaits).toBe(1);
    host.runtime.advance('2s');
    expect(host.host.tcp.timeWaits).toBe(0);
    const [answer] = host.say({ seq: NEXT - 5000, stamp: STAMP - 5000, flags: Flag.Syn });
    expect(answer!.flags).toBe(Flag.Syn | Flag.Ack);
  });
});
