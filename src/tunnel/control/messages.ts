/** What each control message says. Every function writes into `w` and returns it. */
import type { IpPrefix } from '../../packet/prefix.ts';
import {
  Capability,
  CONTROL_VERSION,
  ControlField,
  ControlType,
  type ControlWriter,
  HELLO_SIZE,
  KEEPALIVE_SIZE,
  type Refusal,
  RefusalCode,
} from './wire.ts';

/** Who a message belongs to; all zeros before there is a session. */
export interface Token {
  tokenHigh: number;
  tokenLow: number;
}

/** A client's run. */
export interface Nonce {
  nonceHigh: number;
  nonceLow: number;
}

export interface HelloSettings {
  layer: 2 | 3;
  mtu: number;
  /** Milliseconds. */
  keepalive: number;
  addresses: readonly IpPrefix[];
  networks: readonly IpPrefix[];
}

export function writeHello(
  w: ControlWriter,
  { tokenHigh, tokenLow, nonceHigh, nonceLow }: Token & Nonce,
  sequence: number,
  settings: HelloSettings,
  cookie: Uint8Array,
): ControlWriter {
  w.begin(ControlType.Hello, tokenHigh, tokenLow)
    .nonce(nonceHigh, nonceLow)
    .sequence(sequence)
    .versions(CONTROL_VERSION, CONTROL_VERSION)
    .layer(settings.layer)
    .mtu(settings.mtu)
    .keepalive(settings.keepalive)
    .capabilities(Capability.probe);
  if (cookie.length > 0) w.cookie(cookie);
  for (const address of settings.addresses) w.prefix(ControlField.Address, address);
  for (const network of settings.networks) w.prefix(ControlField.Network, network);
  return w.padTo(HELLO_SIZE);
}

export function writeCookie(
  w: ControlWriter,
  { nonceHigh, nonceLow }: Nonce,
  cookie: Uint8Array,
): ControlWriter {
  return w.begin(ControlType.Cookie, 0, 0).nonce(nonceHigh, nonceLow).cookie(cookie);
}

export function writeWelcome(
  w: ControlWriter,
  session: Token & Nonce & { sequence: number; keepalive: number },
  server: { layer: 2 | 3; mtu: number; addresses: readonly IpPrefix[] },
): ControlWriter {
  w.begin(ControlType.Welcome, session.tokenHigh, session.tokenLow)
    .nonce(session.nonceHigh, session.nonceLow)
    .sequence(session.sequence)
    .layer(server.layer)
    .mtu(server.mtu)
    .keepalive(session.keepalive)
    .capabilities(Capability.probe);
  for (const address of server.addresses) w.prefix(ControlField.Address, address);
  return w;
}

export function writeRefused(
  w: ControlWriter,
  { nonceHigh, nonceLow }: Nonce,
  refusal: Refusal,
  text: string,
): ControlWriter {
  return w
    .begin(ControlType.Refused, 0, 0)
    .nonce(nonceHigh, nonceLow)
    .versions(CONTROL_VERSION, CONTROL_VERSION)
    .code(RefusalCode[refusal], text);
}

export function writeWho(w: ControlWriter): ControlWriter {
  return w.begin(ControlType.Who, 0, 0);
}

export function writeGoodbye(w: ControlWriter, { tokenHigh, tokenLow }: Token): ControlWriter {
  return w.begin(ControlType.Goodbye, tokenHigh, tokenLow);
}

/** @param nonce of a client, whose KEEPALIVE may be answered by a COOKIE; null from a server */
export function writeKeepalive(
  w: ControlWriter,
  { tokenHigh, tokenLow }: Token,
  sequence: number,
  nonce: Nonce | null,
): ControlWriter {
  w.begin(ControlType.Keepalive, tokenHigh, tokenLow).sequence(sequence);
  return nonce ? w.nonce(nonce.nonceHigh, nonce.nonceLow).padTo(KEEPALIVE_SIZE) : w;
}

export function writeAlive(
  w: ControlWriter,
  { tokenHigh, tokenLow }: Token,
  sequence: number,
): ControlWriter {
  return w.begin(ControlType.Alive, tokenHigh, tokenLow).sequence(sequence);
}

/** A datagram of exactly `size` bytes, at least 64. */
export function writeProbe(
  w: ControlWriter,
  { tokenHigh, tokenLow }: Token,
  sequence: number,
  size: number,
  nonce: Nonce | null,
): ControlWriter {
  w.begin(ControlType.Probe, tokenHigh, tokenLow).sequence(sequence).size(size);
  if (nonce) w.nonce(nonce.nonceHigh, nonce.nonceLow);
  return w.padTo(size);
}

export function writeProbed(
  w: ControlWriter,
  { tokenHigh, tokenLow }: Token,
  sequence: number,
  size: number,
): ControlWriter {
  return w.begin(ControlType.Probed, tokenHigh, tokenLow).sequence(sequence).size(size);
}
