/**
 * A folder for one program at a time, whatever ends it. A name in the kernel's abstract space goes with the process that has it, and is
 * known within one network namespace; a socket in the folder is known to all, and one that nobody answers is a dead program's.
 */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, realpathSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import path from 'node:path';
import { TunconnectorError } from '../../../errors.ts';

const FILE = 'in-use';
/** Bytes of a socket's path, with the zero behind it. */
const PATH = 108;

/** @returns how to give it up @throws ERR_STORAGE when another program has it, or it cannot be made */
export async function lockFolder(folder: string): Promise<() => void> {
  let real: string;
  try {
    make(path.resolve(folder));
    real = realpathSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new TunconnectorError('ERR_STORAGE', `${folder} cannot be made (${code})`, {
      cause: error,
      remedy: 'choose a folder that this user may write to',
    });
  }
  const name = createHash('sha256').update(real).digest('hex').slice(0, 32);
  const inKernel = await listen(`\0tunconnector-${name}`, folder);
  const file = path.join(real, FILE);
  let inFolder: Server | undefined;
  try {
    // One that is too long has the name in the kernel alone.
    if (file.length < PATH) {
      if (await answers(file)) throw taken(folder);
      rmSync(file, { force: true });
      inFolder = await listen(file, folder);
    }
  } catch (error) {
    inKernel.close();
    throw error;
  }
  return () => {
    inKernel.close();
    // Node removes the file.
    inFolder?.close();
  };
}

/** Folder by folder: where the system has no room for one (/proc), Node's own way of making them all does not come back. */
function make(folder: string): void {
  if (existsSync(folder)) return;
  make(path.dirname(folder));
  mkdirSync(folder, 0o700);
}

const answers = (file: string) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(file);
    const end = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });

const listen = (name: string, folder: string) =>
  new Promise<Server>((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const message = `${folder} cannot be written to (${cause.code})`;
      const remedy = 'choose a folder that this user may write to';
      reject(
        cause.code === 'EADDRINUSE'
          ? taken(folder)
          : new TunconnectorError('ERR_STORAGE', message, { cause, remedy }),
      );
    });
    server.listen(name, () => resolve(server));
  });

const taken = (folder: string) =>
  new TunconnectorError('ERR_STORAGE', `another Roulette keeps its registry in ${folder}`, {
    remedy: 'end it, or choose another folder; several of them share etcd',
  });
