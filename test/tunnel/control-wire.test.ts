import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { IpPrefix } from '../../src/packet/prefix.ts';
import {
  writeCookie,
  writeHello,
  writeKeepalive,
  writeProbe,
  writeRefused,
  writeWelcome,
} from '../../src/tunnel/control/messages.ts';
import {
  CONTROL_HEADER,
  COOKIE_SIZE,
  ControlField,
  ControlType,
  ControlWriter,
  controlMessage,
  HELLO_SIZE,
  KEEPALIVE_SIZE,
  MAX_TEXT,
  ParseResult,
  parseControl,
  refusalName,
} from '../../src/tunnel/control/wire.ts';
import { inner } from './control-world.ts';

const SEED = { seed: 20240611, numRuns: 300 };
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const prefix = fc
  .oneof(
    fc.tuple(fc.constant(4 as const), fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.nat(32)),
    fc.tuple(fc.constant(6 as const), fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(128)),
  )
  .map(([family, bytes, length]): IpPrefix => ({ address: { family, bytes }, length }));
const distinct = fc.uniqueArray(prefix, {
  maxLength: 8,
  selector: ({ address, length }) => `${address.bytes.join('.')}/${length}`,
});

const id = { tokenHigh: 0x01020304, tokenLow: 0x05060708, nonceHigh: 0xa0a1a2a3, nonceLow: 0xa4a5a6a7 };
const settings = {
  layer: 3 as const,
  mtu: 1472,
  keepalive: 1000,
  addresses: [inner('10.0.0.2/24')],
  networks: [],
};

function hello(): Uint8Array {
  const w = writeHello(new ControlWriter(), id, 7, settings, new Uint8Array());
  return w.bytes.slice(0, w.length);
}

function parse(bytes: Uint8Array) {
  const message = controlMessage();
  return { result: parseControl(bytes, 0, bytes.length, message), message };
}

/** A message of the given type and fields. */
function raw(type: number, fields: number[][], token = 1, version = 1): Uint8Array {
  const body = fields.flatMap(([field, ...value]) => [
    field,
    value.length >> 8,
    value.length & 255,
    ...value,
  ]);
  return Uint8Array.from([0, 0x54, 0x55, 0x4e, version, type, 0, 0, 0, 0, 0, 0, 0, 0, 0, token, ...body]);
}

const SEQUENCE = [ControlField.Sequence, 0, 0, 0, 1];
const NONCE = [ControlField.Nonce, 1, 2, 3, 4, 5, 6, 7, 8];

describe('a control message', () => {
  it('says HELLO as it was written', () => {
    fc.assert(
      fc.property(
        distinct,
        u32,
        u32,
        fc.constantFrom(2 as const, 3 as const),
        fc.integer({ min: 512, max: 65507 }),
        fc.integer({ min: 1, max: 30000 }),
        fc.uint8Array({ maxLength: 64 }),
        (addresses, sequence, tokenLow, layer, mtu, keepalive, cookie) => {
          const token = { ...id, tokenLow };
          const given = { layer, mtu, keepalive, addresses, networks: [inner('10.9.0.0/16')] };
          const w = writeHello(new ControlWriter(), token, sequence, given, cookie);
          const { result, message } = parse(w.bytes.slice(0, w.length));
          expect(result).toBe(ParseResult.Ok);
          expect(w.length).toBeGreaterThanOrEqual(HELLO_SIZE);
          expect(message).toMatchObject({ ...token, ...given, sequence, type: ControlType.Hello });
          expect(message.cookie.slice(0, message.cookieLength)).toEqual(cookie);
        },
      ),
      SEED,
    );
  });

  it('is dropped, and never throws, when it is cut inside a field', () => {
    const bytes = hello();
    const ends = [CONTROL_HEADER];
    while (ends[0] < bytes.length) ends.unshift(ends[0] + 3 + bytes[ends[0] + 2]);
    expect(ends[0]).toBe(bytes.length);
    for (let length = 0; length < bytes.length; length++) {
      if (!ends.includes(length)) expect(parse(bytes.slice(0, length)).result).toBe(ParseResult.Malformed);
    }
    expect(parse(bytes).result).toBe(ParseResult.Ok);
  });

  it('is found at any offset and ends where its length says', () => {
    const message = controlMessage();
    const bytes = hello();
    const padded = new Uint8Array(bytes.length + 20).fill(0xff);
    padded.set(bytes, 9);
    expect(parseControl(padded, 9, bytes.length, message)).toBe(ParseResult.Ok);
    expect(parseControl(padded, 9, bytes.length + 20, message)).toBe(ParseResult.Malformed);
  });

  it('may hold fields of a later version', () => {
    const message = raw(ControlType.Alive, [[200, 1, 2, 3], SEQUENCE, [200], [0, 9]]);
    expect(parse(message)).toMatchObject({ result: ParseResult.Ok, message: { sequence: 1 } });
  });

  it.each([
    ['a field twice', raw(ControlType.Alive, [SEQUENCE, SEQUENCE])],
    ['padding twice', raw(ControlType.Alive, [SEQUENCE, [ControlField.Padding], [ControlField.Padding]])],
    ['a field that is missing', raw(ControlType.Alive, [])],
    ['a field of the wrong length', raw(ControlType.Alive, [[ControlField.Sequence, 0, 0, 1]])],
    ['no token where one is needed', raw(ControlType.Alive, [SEQUENCE], 0)],
    ['a nonce of zero', raw(ControlType.Keepalive, [SEQUENCE, [ControlField.Nonce, 0, 0, 0, 0, 0, 0, 0, 0]])],
    ['an unknown type', raw(11, [SEQUENCE])],
    ['type 0', raw(0, [SEQUENCE])],
    ['a WHO that is more than a header', raw(ControlType.Who, [SEQUENCE])],
    ['a PROBE of another size than it says', raw(ControlType.Probe, [SEQUENCE, [ControlField.Size, 0, 29]])],
    [
      'an IPv4 prefix of 33 bits',
      raw(ControlType.Alive, [SEQUENCE, [ControlField.Address, 4, 33, 10, 0, 0, 2]]),
    ],
    [
      'an address of family 5',
      raw(ControlType.Alive, [SEQUENCE, [ControlField.Address, 5, 24, 10, 0, 0, 2]]),
    ],
    ['an empty address', raw(ControlType.Alive, [SEQUENCE, [ControlField.Address]])],
    [
      'a network with host bits',
      raw(ControlType.Alive, [SEQUENCE, [ControlField.Network, 4, 8, 10, 0, 0, 2]]),
    ],
    [
      'an address twice',
      raw(ControlType.Alive, [SEQUENCE, ...new Array(2).fill([ControlField.Address, 4, 24, 10, 0, 0, 2])]),
    ],
    [
      'nine addresses',
      raw(ControlType.Alive, [
        SEQUENCE,
        ...[...Array(9)].map((_, i) => [ControlField.Address, 4, 24, 10, 0, 0, i]),
      ]),
    ],
    ['layer 4', raw(ControlType.Alive, [SEQUENCE, [ControlField.Layer, 4]])],
    ['an mtu below 512', raw(ControlType.Alive, [SEQUENCE, [ControlField.Mtu, 1, 0xff]])],
    ['an empty cookie', raw(ControlType.Cookie, [NONCE, [ControlField.Cookie]])],
    [
      'a cookie of 65 bytes',
      raw(ControlType.Cookie, [NONCE, [ControlField.Cookie, ...new Array(65).fill(1)]]),
    ],
    ['another magic number', raw(ControlType.Alive, [SEQUENCE]).fill(0x55, 1, 2)],
  ])('is malformed with %s', (_what, bytes) => {
    expect(parse(bytes).result).toBe(ParseResult.Malformed);
  });

  it('of another version shows its nonce and versions, so that both ends can say what they speak', () => {
    const versions = [ControlField.Versions, 2, 3];
    const strange = [ControlField.Sequence, 1];
    for (const type of [ControlType.Hello, ControlType.Refused]) {
      const { result, message } = parse(raw(type, [strange, NONCE, versions], 0, 2));
      expect(result).toBe(ParseResult.OtherVersion);
      expect(message).toMatchObject({
        nonceHigh: 0x01020304,
        nonceLow: 0x05060708,
        versionMin: 2,
        versionMax: 3,
      });
      expect(parse(raw(type, [versions], 0, 2)).result).toBe(ParseResult.Malformed);
    }
  });

  it('cannot put control characters on a terminal', () => {
    const w = writeRefused(new ControlWriter(), id, 'taken', 'a\u001b[31m\u202eb\nc \u00e9');
    expect(parse(w.bytes.slice(0, w.length)).message.text).toBe('a?[31m?b?c \u00e9');
  });

  it('cuts a long text at a character', () => {
    const w = writeRefused(new ControlWriter(), id, 'outside', '\u00e9\u20ac'.repeat(100));
    const { result, message } = parse(w.bytes.slice(0, w.length));
    expect(result).toBe(ParseResult.Ok);
    expect(message.text).toBe('\u00e9\u20ac'.repeat(MAX_TEXT / 5));
    expect(refusalName(message.code)).toBe('outside');
  });

  it('of one kind leaves nothing in the padding of the next', () => {
    const w = new ControlWriter();
    writeWelcome(w, { ...id, sequence: 1, keepalive: 1000 }, settings);
    writeProbe(w, id, 1, 1200, id);
    writeRefused(w, id, 'taken', 'x'.repeat(200));
    const first = writeProbe(w, id, 1, 600, null);
    expect(first.bytes.slice(0, first.length)).toEqual(
      (({ bytes, length }) => bytes.slice(0, length))(writeProbe(new ControlWriter(), id, 1, 600, null)),
    );
  });

  it('is exactly as long as its kind promises', () => {
    const w = new ControlWriter();
    expect(writeCookie(w, id, new Uint8Array(20)).length).toBe(COOKIE_SIZE);
    expect(writeKeepalive(w, id, 1, id).length).toBe(KEEPALIVE_SIZE);
    expect(KEEPALIVE_SIZE).toBeGreaterThanOrEqual(COOKIE_SIZE);
    expect(writeRefused(w, id, 'taken', 'x'.repeat(300)).length).toBeLessThanOrEqual(HELLO_SIZE);
    expect(CONTROL_HEADER).toBeLessThan(20);
    for (let size = 64; size < 2000; size++) expect(writeProbe(w, id, 1, size, id).length).toBe(size);
  });
});
