/** Errors as Node's own sockets have them. */
import { constants } from 'node:os';
import type { TcpErrorCode } from '../tcp/state.ts';

export interface SocketError extends Error {
  code: string;
  errno: number;
  syscall: string;
  address?: string;
  port?: number;
}

/** @param syscall `connect`, `read`, `listen` */
export function socketError(
  code: TcpErrorCode,
  syscall: string,
  address?: string,
  port?: number,
): SocketError {
  const where = address === undefined ? '' : ` ${address}:${port}`;
  const error = new Error(`${syscall} ${code}${where}`) as SocketError;
  error.code = code;
  error.errno = -constants.errno[code];
  error.syscall = syscall;
  if (address !== undefined) {
    error.address = address;
    error.port = port;
  }
  return error;
}
