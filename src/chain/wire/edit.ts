/**
 * Changes to a prefix where it stands. None moves a byte, so that a prefix in front of a packet, and that of a flow in a
 * table, are edited alike. `header` is the offset of the NSH header, `path` that of the PATH TLV.
 */
import * as nsh from '../../packet/nsh.ts';
import { RETURN } from './prefix.ts';
import { functions, generation, isNewer, replica, START, setGeneration, setReplica } from './tlv.ts';

/** On to the next function. Returns false, and changes nothing, when the TTL or the service index has come to its end. */
export function advance(bytes: Uint8Array, header: number): boolean {
  const index = nsh.serviceIndex(bytes, header);
  if (index === 0 || !nsh.decrementTtl(bytes, header)) return false;
  nsh.setServiceIndex(bytes, header, index - 1);
  return true;
}

/** To the start of the way back: the same replicas, both ends with them, in turned order. Of a way back, that is the way there. */
export function turnRound(bytes: Uint8Array, header: number, path: number): void {
  nsh.setServicePath(bytes, header, nsh.servicePath(bytes, header) ^ RETURN);
  restart(bytes, header);
  for (let i = START, j = functions(bytes, path); i < j; i++, j--) {
    const first = replica(bytes, path, i);
    setReplica(bytes, path, i, replica(bytes, path, j));
    setReplica(bytes, path, j, first);
  }
}

/** To the start of its path. */
export function restart(bytes: Uint8Array, header: number): void {
  nsh.setServiceIndex(bytes, header, nsh.FIRST_INDEX);
  nsh.setTtl(bytes, header, nsh.DEFAULT_TTL);
}

/**
 * Other replicas of the functions, and a newer generation than the one that stands there.
 *
 * @param replicas as many as the path has functions
 */
export function repath(
  bytes: Uint8Array,
  path: number,
  newGeneration: number,
  replicas: ArrayLike<number>,
): void {
  setGeneration(bytes, path, newGeneration);
  for (let i = 0; i < replicas.length; i++) setReplica(bytes, path, i, replicas[i]);
}

/**
 * Takes over the path at `from[fromPath]`, ends and all, if its generation is newer, so that a packet that was late cannot turn a flow
 * back to replicas it has left. Both are of one revision, direction and flow. Returns whether anything changed.
 */
export function adoptNewer(bytes: Uint8Array, path: number, from: Uint8Array, fromPath: number): boolean {
  const theirs = generation(from, fromPath);
  const count = functions(bytes, path);
  if (functions(from, fromPath) !== count || !isNewer(theirs, generation(bytes, path))) return false;
  setGeneration(bytes, path, theirs);
  for (let i = START; i <= count; i++) setReplica(bytes, path, i, replica(from, fromPath, i));
  return true;
}

/** A probe of the path that the prefix describes: the O bit, and nothing behind it. */
export function toProbe(bytes: Uint8Array, header: number): void {
  nsh.setOam(bytes, header, true);
  nsh.setNextProtocol(bytes, header, nsh.NextProtocol.None);
}
