/** How commands end: exit codes, and errors as one line with cause and remedy. */
import { type ErrorCode, TunconnectorError } from '../errors.ts';

/** Documented in docs/cli.md. */
export const Exit = {
  ok: 0,
  /** Something failed while it ran. */
  failure: 1,
  /** The command line or the configuration cannot be understood or does not fit. */
  usage: 2,
  permission: 3,
  /** The peer refused, has no such thing, or its name does not resolve. */
  peer: 4,
  /** Something is taken or missing on this machine: a port, an interface, /dev/net/tun, a program, the addon, a file's directory. */
  machine: 5,
} as const;

const BY_CODE: Partial<Record<ErrorCode, number>> = {
  ERR_USAGE: Exit.usage,
  ERR_CONFIG: Exit.usage,
  ERR_ADDRESS: Exit.usage,
  ERR_LIMIT: Exit.usage,
  ERR_PERMISSION: Exit.permission,
  ERR_REFUSED: Exit.peer,
  ERR_RESOLVE: Exit.peer,
  ERR_UNREACHABLE: Exit.peer,
  ERR_TOKEN: Exit.peer,
  ERR_FORBIDDEN: Exit.peer,
  ERR_NOT_FOUND: Exit.peer,
  ERR_TUN_OPEN: Exit.machine,
  ERR_INTERFACE: Exit.machine,
  ERR_PORT_IN_USE: Exit.machine,
  ERR_SOCKET: Exit.machine,
  ERR_NATIVE: Exit.machine,
  ERR_PLATFORM: Exit.machine,
  ERR_COMMAND: Exit.machine,
  ERR_CAPTURE: Exit.machine,
};

export function exitCodeOf(error: unknown): number {
  return error instanceof TunconnectorError ? (BY_CODE[error.code] ?? Exit.failure) : Exit.failure;
}

/** One line, whatever the error is. */
export function errorLine(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.split('\n')[0]!;
}

export function usageError(message: string, remedy?: string): TunconnectorError {
  return new TunconnectorError('ERR_USAGE', message, { remedy });
}

/** Writes an error to standard error and gives the exit code that goes with it. */
export function reportError(error: unknown, { verbose = false } = {}): number {
  process.stderr.write(`tunconnector: ${errorLine(error)}\n`);
  // Whoever asked for details gets the stack of what is not meant for people.
  if (verbose && !(error instanceof TunconnectorError) && error instanceof Error && error.stack) {
    process.stderr.write(`${error.stack}\n`);
  }
  return exitCodeOf(error);
}
