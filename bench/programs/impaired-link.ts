/**
 * An impaired link whose superframes are sliced where verdicts differ, or cut on entry: `impaired-link.js sliced|cut SPEC END
 * END`. An end is an Ethernet interface, or the path of a network namespace in which a TUN `tun0` is made. It says
 * `{"ready":true}` when packets pass, and what passed when it is asked to end.
 */
import { once } from 'node:events';
import { packetSocket, runInWorker, tun } from 'tunconnector';
import { impairedLink, parseSpec } from 'tunconnector/impair';
import { cutImpair } from '../engine/cut-impair.js';

const [how, text, left, right] = process.argv.slice(2);
if ((how !== 'sliced' && how !== 'cut') || !text || !left || !right) {
  process.stderr.write('usage: impaired-link.js sliced|cut SPEC END END\n');
  process.exit(2);
}

const spec = parseSpec(text);
const port = (end: string) =>
  end.startsWith('/') ? tun({ name: 'tun0', netns: end }) : packetSocket({ interface: end });
const link = impairedLink(port(left), port(right), spec);
if (how === 'cut') Object.assign(link.apps, { up: cutImpair(spec.up), down: cutImpair(spec.down) });

const network = await runInWorker(link);
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ready: true, program: 'impaired-link', how });
await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
const { links } = await network.report();
await network.close();
say(Object.fromEntries(links.map(({ link, packets }) => [link, packets])));
