/** Control sockets of running networks, so that `tunconnector capture tun0` finds them, and their removal whatever happens. */
import { type ChildProcess, spawn } from 'node:child_process';
import { statSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import type { Attachable } from '../engine/attach.ts';
import { TunconnectorError } from '../errors.ts';
import { serveHosted } from '../tun/control/live-attached.ts';
import { filesIn, SUFFIX, tryConnect } from '../tun/control/live-path.ts';
import type { Control } from '../tun/control/live-server.ts';
import { systemEnvironment } from '../tun/system/live-command.ts';
import { errorLine } from './exit.ts';

/** Reads to the end of its input, which comes with the end of who started it, also by kill -9. */
const REMOVE_AT_END =
  'while read -r line; do :; done; rm -f -- "$1"; rmdir -- "$(dirname -- "$1")" 2>/dev/null';

/** A socket that was made this recently may not listen yet, ms. */
const YOUNG = 10_000;

/** Removes sockets whose tunnel and remover were killed together, as the end of a container or a namespace does. */
export async function removeDead(directory: string): Promise<void> {
  const files = filesIn(directory).filter((each) => each.endsWith(SUFFIX));
  for (const file of files.map((each) => path.join(directory, each))) {
    try {
      if (Date.now() - statSync(file).mtimeMs < YOUNG) continue;
      const socket = await tryConnect(file);
      if (socket) socket.destroy();
      else unlinkSync(file);
    } catch {
      // Another's, or gone by now.
    }
  }
}

export class ControlSockets {
  readonly #controls: Control[] = [];
  readonly #removers: ChildProcess[] = [];
  readonly #note: (text: string) => void;

  constructor(note: (text: string) => void) {
    this.#note = note;
  }

  /** Serves a network under a name, a tunnel's under its interface's. One without a control socket runs all the same. */
  async serve(name: string, network: Attachable): Promise<void> {
    try {
      const control = await serveHosted(network, name).catch((error: unknown) => {
        // A namespace beside this one may have an interface of the same name.
        if (!(error instanceof TunconnectorError) || error.code !== 'ERR_SOCKET') throw error;
        return serveHosted(network, `${name}-${process.pid}`);
      });
      this.#controls.push(control);
      await removeDead(path.dirname(control.path));
      const remover = spawn('sh', ['-c', REMOVE_AT_END, 'sh', control.path], {
        stdio: ['pipe', 'ignore', 'ignore'],
        env: systemEnvironment(),
        detached: true,
      });
      remover.on('error', () => {});
      remover.stdin!.on('error', () => {});
      remover.unref();
      this.#removers.push(remover);
      this.#note(`${name}: control socket ${control.path}`);
    } catch (error) {
      this.#note(`${name}: no control socket: ${errorLine(error)}`);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#controls.map((control) => control.close()));
    for (const remover of this.#removers) remover.stdin!.end();
  }
}
