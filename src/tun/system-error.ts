/** Errors of system calls as people should read them: what was refused, why, and what to do about it. */
import { type ErrorCode, TunconnectorError } from '../errors.ts';

interface SystemError extends Error {
  code: string;
  syscall?: string;
}

const CAPABILITY = 'run it as root, give it CAP_NET_ADMIN, or use a user namespace (--rootless)';

interface Explanation {
  code: ErrorCode;
  what: string;
  remedy: string;
}

const BY_ERRNO: Record<string, Explanation> = {
  EPERM: { code: 'ERR_PERMISSION', what: 'is not permitted', remedy: CAPABILITY },
  EACCES: { code: 'ERR_PERMISSION', what: 'is not permitted', remedy: CAPABILITY },
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
    remedy: found.remedy,
  });
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && typeof (error as SystemError).code === 'string';
}
