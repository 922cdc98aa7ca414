/** Quantities in options: numbers in canonical units (ns, bit/s, bytes, 0..1), or the words that people use. */
import { z } from 'zod';
import { duration } from '../engine/units.ts';
import { TunconnectorError } from '../errors.ts';

const RATE = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(bit|bps)$/;
const THOUSANDS = ['', 'k', 'm', 'g', 't'];

/** bit/s of `5mbit`, `1.5gbit`, `64kbps` (bytes per second, as in tc) or a number. */
export function parseRate(text: string | number): number | undefined {
  if (typeof text === 'number') return text > 0 && Number.isFinite(text) ? text : undefined;
  const match = RATE.exec(text.toLowerCase());
  if (!match) return undefined;
  const [, digits, prefix, binary, unit] = match;
  const rate =
    Number(digits) * (binary ? 1024 : 1000) ** THOUSANDS.indexOf(prefix) * (unit === 'bps' ? 8 : 1);
  return rate > 0 && Number.isFinite(rate) ? rate : undefined;
}

/** 0 .. 1 of `1.5%`, `0.015` or a number. */
export function parseProbability(text: string | number): number | undefined {
  let value: number;
  if (typeof text === 'number') value = text;
  else if (/^\d+(\.\d+)?%$/.test(text)) value = Number(text.slice(0, -1)) / 100;
  else if (/^\d+(\.\d+)?$/.test(text)) value = Number(text);
  else return undefined;
  return value >= 0 && value <= 1 ? value : undefined;
}

/** ns of `50ms` or a number of ns; at most 2^53 - 1, 104 days, up to which every ns is a number of its own. */
export function parseTime(text: string | number): number | undefined {
  try {
    const time = duration(text);
    return Number.isSafeInteger(time) ? time : undefined;
  } catch (error) {
    if (error instanceof TunconnectorError) return undefined;
    throw error;
  }
}

const SIZE = /^(\d+(?:\.\d+)?)\s*([kmg]?)b?$/;

/** Bytes of `1500`, `1500b`, `64kb` (of 1024 bytes, as in tc), `1.5mb` or a number. */
export function parseSize(text: string | number): number | undefined {
  if (typeof text === 'number') return text >= 0 && Number.isFinite(text) ? Math.round(text) : undefined;
  const match = SIZE.exec(text.toLowerCase());
  return match ? parseSize(Number(match[1]) * 1024 ** ['', 'k', 'm', 'g'].indexOf(match[2])) : undefined;
}

const quantity = (parse: (text: string | number) => number | undefined, expected: string) =>
  z.union([z.string(), z.number()]).transform((text, context) => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: `expected ${expected}` });
    return z.NEVER;
  });

/** ns */
export const time = quantity(parseTime, 'a time such as 50ms');
/** 0 .. 1 */
export const probability = quantity(parseProbability, 'a share such as 1% or 0.01');
/** bit/s */
export const rate = quantity(parseRate, 'a rate such as 5mbit');
/** bytes */
export const size = quantity(parseSize, 'a size such as 1500 or 64kb');
