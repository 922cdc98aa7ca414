import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CookieJar } from '../../src/tunnel/control/cookie.ts';
import {
  writeAlive,
  writeCookie,
  writeGoodbye,
  writeHello,
  writeKeepalive,
  writeProbe,
  writeProbed,
  writeRefused,
  writeWelcome,
  writeWho,
} from '../../src/tunnel/control/messages.ts';
import {
  ControlType,
  ControlWriter,
  controlMessage,
  ParseResult,
  parseControl,
} from '../../src/tunnel/control/wire.ts';
import { inner, row } from './control-world.ts';

const page = readFileSync(new URL('../../docs/udp-format.md', import.meta.url), 'utf8');

const nonce = { nonceHigh: 0x0a0b0c0d, nonceLow: 0x0e0f1011 };
const none = { tokenHigh: 0, tokenLow: 0, ...nonce };
const session = { tokenHigh: 0xc0ffee00, tokenLow: 0x12345678, ...nonce };
const hello = {
  layer: 3 as const,
  mtu: 1472,
  keepalive: 1000,
  addresses: [inner('10.0.0.3/24')],
  networks: [inner('10.9.8.0/24')],
};
const server = { layer: 3 as const, mtu: 1472, addresses: [inner('10.0.0.2/24'), inner('fd00::2/64')] };
const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
const cookie = new CookieJar(secret).make(90e9, row('198.51.100.7', 40000), nonce.nonceHigh, nonce.nonceLow);

const EXAMPLES: Record<string, (w: ControlWriter) => ControlWriter> = {
  HELLO: (w) => writeHello(w, none, 1, hello, new Uint8Array()),
  COOKIE: (w) => writeCookie(w, nonce, cookie),
  'HELLO with the cookie': (w) => writeHello(w, none, 2, hello, cookie),
  WELCOME: (w) => writeWelcome(w, { ...session, sequence: 2, keepalive: 1000 }, server),
  REFUSED: (w) => writeRefused(w, nonce, 'taken', "10.0.0.2 is the server's own address"),
  'KEEPALIVE of a client': (w) => writeKeepalive(w, session, 1, nonce),
  ALIVE: (w) => writeAlive(w, session, 1),
  PROBE: (w) => writeProbe(w, session, 0, 1472, nonce),
  PROBED: (w) => writeProbed(w, session, 0, 1472),
  WHO: (w) => writeWho(w),
  GOODBYE: (w) => writeGoodbye(w, session),
};

/** The bytes of a dump as `hexdump -C` writes it: `*` stands for lines like the one before. */
function undump(text: string): Uint8Array {
  const bytes: number[] = [];
  let line: number[] = [];
  for (const each of text.trim().split('\n')) {
    const [offset, ...hex] = each.replace(/\|.*$/, '').trim().split(/\s+/);
    if (offset === '*') continue;
    while (bytes.length < Number.parseInt(offset, 16)) bytes.push(...line);
    line = hex.map((byte) => Number.parseInt(byte, 16));
    bytes.push(...line);
  }
  return Uint8Array.from(bytes);
}

/** The dump of an example in the page. */
function example(name: string): string {
  const [, dump] = page.split(`**${name}**`)[1]?.split(/^```\w*$/m) ?? [];
  if (!dump) throw new Error(`no example ${name}`);
  return dump;
}

describe('the page about the udp format', () => {
  it.each(Object.keys(EXAMPLES))('shows a %s as this program sends it', (name) => {
    const message = EXAMPLES[name](new ControlWriter());
    const bytes = undump(example(name));
    expect(bytes).toEqual(message.bytes.slice(0, message.length));
    expect(parseControl(bytes, 0, bytes.length, controlMessage())).toBe(ParseResult.Ok);
  });

  it('shows every type of message', () => {
    const shown = Object.keys(EXAMPLES).map((name) => undump(example(name))[5]);
    expect(new Set(shown)).toEqual(new Set(Object.values(ControlType)));
  });
});
