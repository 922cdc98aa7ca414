/** Where the control sockets are, and whether somebody listens there. */
import { lstatSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { TunconnectorError } from '../../errors.ts';

const DIRECTORY = 'tunconnector';
export const SUFFIX = '.sock';
/** sockaddr_un's sun_path, with its terminator. */
const MAX_PATH = 108;

/** The first is where a new one goes; root finds those of services, which have no XDG_RUNTIME_DIR, in the second. */
export function directories(): string[] {
  const own = process.env.XDG_RUNTIME_DIR;
  const bases = own && path.isAbsolute(own) ? [own, '/run'] : ['/run'];
  return [...new Set(bases)].map((base) => path.join(base, DIRECTORY));
}

export function socketPath(directory: string, name: string): string {
  if (!/^[\w][\w.@-]{0,63}$/.test(name)) {
    throw new TunconnectorError(
      'ERR_CONFIG',
      `found the network name "${name}", expected letters, digits, ".", "_", "-"`,
    );
  }
  const file = path.join(directory, name + SUFFIX);
  if (Buffer.byteLength(file) >= MAX_PATH) {
    throw new TunconnectorError('ERR_SOCKET', `the path ${file} is too long for a socket`, {
      remedy: 'set XDG_RUNTIME_DIR to a shorter directory',
    });
  }
  return file;
}

/** Where a new socket goes, and the same again when the directory was made for it, to be removed afterwards. */
export function firstDirectory(): { directory: string; made: string | undefined } {
  let failure: unknown;
  for (const directory of directories()) {
    try {
      return { directory, made: makeDirectory(directory) ? directory : undefined };
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

/** False when it was there. It must be ours alone: whoever can write to it owns the sockets. */
function makeDirectory(directory: string): boolean {
  try {
    mkdirSync(directory, { mode: 0o700 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw socketError(directory, error);
  }
  const { uid, mode } = lstatSync(directory);
  const isDirectory = (mode & 0o170000) === 0o040000;
  if (!isDirectory || uid !== process.geteuid?.() || (mode & 0o022) !== 0) {
    throw new TunconnectorError(
      'ERR_PERMISSION',
      `${directory} is not a directory that only this user can write to`,
      {
        remedy: 'remove it, or set XDG_RUNTIME_DIR',
      },
    );
  }
  return false;
}

/** Others may have put sockets there meanwhile. */
export function removeDirectory(directory: string | undefined): void {
  if (!directory) return;
  try {
    rmdirSync(directory);
  } catch {
    // It is in use.
  }
}

export function filesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** The connection, or undefined when nobody listens there. Throws when there may be somebody and it cannot be told. */
export function tryConnect(file: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: file, allowHalfOpen: true });
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      // What breaks later is seen by whoever reads.
      socket.on('error', () => {});
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK')
        resolve(undefined);
      else if (error.code === 'EACCES' || error.code === 'EPERM') {
        reject(
          new TunconnectorError('ERR_PERMISSION', `${file}: another user's network`, {
            cause: error,
            errno: error.code,
            syscall: 'connect',
            remedy: 'run this as that user, or as root',
          }),
        );
      } else reject(socketError(file, error));
    });
  });
}

/** ERR_SOCKET for what the system said. */
export function socketError(file: string, error: unknown): TunconnectorError {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  return new TunconnectorError('ERR_SOCKET', `${file}: ${code ?? message} (${syscall ?? 'socket'})`, {
    cause: error,
    errno: code,
    syscall,
    remedy: 'set XDG_RUNTIME_DIR to a directory of your own',
  });
}
