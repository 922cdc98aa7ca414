/** Errors of system calls as people should read them: what was refused, why, and what to do about it. */
import { type ErrorCode, TunconnectorError } from '../errors.ts';

interface SystemError extends Error {
  code: string;
  syscall?: string;
}

/** What helps whoever may not change the network. A command that has another way says so besides. */
export const NEEDS_ADMIN = 'run it as root, or give it CAP_NET_ADMIN';
const NEEDS_RAW = 'run it as root, or give it CAP_NET_RAW';
const NEEDS_PORT = 'choose a port from 1024 on, run it as root, or give it CAP_NET_BIND_SERVICE';

interface Explanation {
  code: ErrorCode;
  what: string;
  remedy: string;
}

const BY_ERRNO: Record<string, Explanation> = {
  EPERM: { code: 'ERR_PERMISSION', what: 'is not permitted', remedy: NEEDS_ADMIN },
  EACCES: { code: 'ERR_PERMISSION', what: 'is not permitted', remedy: NEEDS_ADMIN },
  EBUSY: {
    code: 'ERR_TUN_OPEN',
    what: 'is in use by another program',
    remedy: 'choose another interface name, or end that program',
  },
  EEXIST: {
    code: 'ERR_TUN_OPEN',
    what: 'exists already and is neither TUN nor TAP',
    remedy: 'choose another interface name',
  },
  EADDRINUSE: {
    code: 'ERR_PORT_IN_USE',
    what: 'is taken by another program',
    remedy: 'choose another port, or end that program (ss -lnptu shows it)',
  },
  EADDRNOTAVAIL: {
    code: 'ERR_SOCKET',
    what: 'is not an address of this machine',
    remedy: 'bind to an address that "ip address" lists, or to 0.0.0.0',
  },
  ENODEV: { code: 'ERR_INTERFACE', what: 'does not exist', remedy: '"ip link" lists the interfaces' },
  ENXIO: { code: 'ERR_INTERFACE', what: 'does not exist', remedy: '"ip link" lists the interfaces' },
  EMFILE: { code: 'ERR_SOCKET', what: 'has no descriptor left', remedy: 'raise the limit (ulimit -n)' },
};

const NO_DEVICE: Explanation = {
  code: 'ERR_TUN_OPEN',
  what: 'cannot be made: /dev/net/tun is missing',
  remedy: 'load the module (modprobe tun); in a container, pass --device /dev/net/tun',
};

/**
 * Turns an error of a native set-up call into a TunconnectorError; anything else comes back as it is.
 * @param subject what it was about, e.g. `the TUN "tun0"`
 */
export function systemError(error: unknown, subject: string): unknown {
  if (error instanceof TunconnectorError || !isSystemError(error)) return error;
  const details = { cause: error, errno: error.code, syscall: error.syscall };
  const isTun = error.message.includes('/dev/net/tun');
  const found =
    isTun && (error.code === 'ENOENT' || error.code === 'ENODEV') ? NO_DEVICE : BY_ERRNO[error.code];
  if (!found) return new TunconnectorError('ERR_SOCKET', `${subject}: ${error.message}`, details);
  return new TunconnectorError(found.code, `${subject} ${found.what} (${error.code}, ${error.syscall})`, {
    ...details,
    remedy: found.remedy === NEEDS_ADMIN ? neededFor(error.syscall) : found.remedy,
  });
}

function neededFor(syscall: string | undefined): string {
  if (syscall === 'bind') return NEEDS_PORT;
  return syscall === 'socket(AF_PACKET)' ? NEEDS_RAW : NEEDS_ADMIN;
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && typeof (error as SystemError).code === 'string';
}
