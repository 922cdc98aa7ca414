/** What runs in the thread of `runInWorker`: one network, and its answers to messages, which come between breaths. */
import { parentPort, workerData } from 'node:worker_threads';
import { attachedFunction } from './attach.ts';
import { LiveRuntime } from './live-runtime.ts';
import { type Answer, fromError, type Request, type WorkerOptions } from './live-worker.ts';
import { Network } from './network.ts';

const port = parentPort!;
const { memory, seed } = workerData as WorkerOptions;
const network = new Network(new LiveRuntime({ blocking: true, ...(seed === undefined ? {} : { seed }) }), {
  memory,
});
let started = false;

const send = (answer: Answer) => port.postMessage(answer);

network.on('event', (app, event) => send({ kind: 'event', app, event }));
network.on('error', (error) => send({ kind: 'error', error: fromError(error) }));

// One after the other: a commit that opens devices waits, and what comes after it must see its result.
let last: Promise<void> = Promise.resolve();
port.on('message', (request: Request & { id: number }) => {
  last = last.then(async () => {
    const { id } = request;
    try {
      send({ kind: 'answer', id, result: await answer(request) });
    } catch (error) {
      send({ kind: 'answer', id, error: fromError(error) });
    }
  });
});

async function answer(request: Request): Promise<unknown> {
  switch (request.do) {
    case 'reconfigure':
      await network.reconfigure(request.config);
      if (!started) await network.start();
      started = true;
      return undefined;
    case 'report':
      return network.report();
    case 'attach':
      return (await attachedFunction(request.module, request.export))(network, request.options, request.port);
    case 'close':
      return network.close();
  }
}
