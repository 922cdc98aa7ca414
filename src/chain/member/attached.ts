/**
 * Joins the two halves of a member, whichever threads they are in. Updates go over as they come; news go one batch at a time, the next when
 * the last was taken, so that a control half which is slow gets larger batches and not a longer queue.
 */
import type { Attachable, Attached } from '../../engine/attach.ts';
import { TunconnectorError } from '../../errors.ts';
import type { TableUpdate } from '../tables/update.ts';
import type { ChainControlled, MemberNews } from './control.ts';
import { figuresOf } from './figures.ts';
import type { Member } from './member.ts';

interface ControlOptions {
  /** Name of the app. */
  app: string;
}

/** What goes to the packet half: updates, `taken` for each news, and `measure` to be told what has passed. */
type ToPackets = { update: TableUpdate } | { taken: true } | { measure: true };

/** To be attached. */
export const controlledPackets: Attached<ControlOptions, void> = (network, { app: name }, port) => {
  const app = network.get(name) as unknown as ChainControlled | undefined;
  if (typeof app?.update !== 'function' || typeof app.takeNews !== 'function')
    throw new TunconnectorError('ERR_CONFIG', `the app "${name}" has no half that can be controlled`);
  let isAway = false;
  let isReady = false;
  const send = () => {
    isReady = true;
    if (isAway) return;
    isReady = false;
    const news = app.takeNews();
    if (!news) return;
    isAway = true;
    port.postMessage(news);
  };
  // It is called in the midst of a burst: what else is found there goes along.
  const { runtime } = network;
  app.onNews = () => runtime.timer(runtime.now(), send);
  port.on('message', (message: ToPackets) => {
    if ('update' in message) {
      app.update(message.update);
      return;
    }
    if ('measure' in message) {
      port.postMessage({ figures: figuresOf(network.report(), name) } satisfies MemberNews);
      return;
    }
    isAway = false;
    if (isReady) send();
  });
  // What it had to tell before.
  send();
};

/** What the thread of the packet half loads. */
export const controlModule = import.meta.url;

/**
 * The app of this name in a network that runs becomes the packet half of a member: it is told everything, then what changes. Once more
 * for another network, when that takes the place of the first.
 * @throws ERR_CONFIG when there is no such app
 */
export async function controlPackets(member: Member, network: Attachable, app: string): Promise<void> {
  const { port } = await network.attach({
    module: import.meta.url,
    export: 'controlledPackets',
    options: { app } satisfies ControlOptions,
  });
  const tell = (message: ToPackets) => port.postMessage(message);
  port.on('message', (news: MemberNews) => {
    member.receive(news);
    // That was an answer, and no batch.
    if (!news.figures) tell({ taken: true });
  });
  // It is the network that keeps a program going.
  port.unref();
  member.join({ update: (update) => tell({ update }), measure: () => tell({ measure: true }) });
}
