/**
 * Copies of packets into a pcapng file. What the disk is too slow for is missed and counted; packets never wait for it. The file is
 * added to: a function that begins anew adds a section.
 */
import { z } from 'zod';
import type { TunconnectorError } from '../../errors.ts';
import { LinkType } from '../../packet/capture.ts';
import { PcapngWriter } from '../../packet/pcapng.ts';
import type { CaptureOutput } from '../../tun/capture/capture.ts';
import { appendCaptureFile } from '../../tun/capture/live-file.ts';
import type { VnfContext } from '../vnf/context.ts';
import { defineVnf } from '../vnf/define.ts';
import { FlowFinder, matchSchema, packetMatch } from './options.ts';

export const mirrorSchema = z.strictObject({
  file: z.string().min(1),
  /** Flows that are copied; all by default. */
  match: matchSchema.refine(packetMatch, 'expected a match without tenant and VLAN').optional(),
  direction: z.enum(['both', 'there', 'back']).default('both'),
  /** Bytes kept of each packet. */
  snapLength: z.coerce.number().int().min(64).max(65_535).default(65_535),
  /** Ends after so many packets; 0: never. */
  count: z.coerce.number().int().min(0).default(0),
});

/** Bytes that may wait for the disk. */
const PENDING = 4 << 20;
const FLUSH = '100ms';

export const mirror = defineVnf<boolean | null, z.input<typeof mirrorSchema>, z.output<typeof mirrorSchema>>({
  name: 'mirror',
  module: import.meta.url,
  export: 'mirror',
  options: mirrorSchema,
  create({ file, match, direction, snapLength, count }) {
    const finder = match && new FlowFinder([match]);
    const bytes = new Uint8Array(snapLength);
    let output: CaptureOutput | undefined;
    let writer: PcapngWriter | undefined;
    let left = count === 0 ? Number.POSITIVE_INFINITY : count;
    const ids: Record<string, number> = {};

    function flush(ctx: VnfContext): void {
      if (writer === undefined) return;
      writer.flush();
      ctx.timer(FLUSH, () => flush(ctx));
    }
    async function end(): Promise<void> {
      const was = output;
      if (was?.onFailure && writer) writer.end();
      writer = undefined;
      output = undefined;
      await was?.end();
    }
    return {
      async open(ctx) {
        const opened = await appendCaptureFile(file, ctx.live);
        output = opened;
        writer = new PcapngWriter({
          // A chunk of its own: the writer goes on in its buffer.
          sink: (chunk) => opened.write(chunk.slice(), () => {}),
          epochNs: ctx.startOfTime,
          snapLength,
          application: 'tunconnector',
        });
        for (const name of ['there', 'back'])
          ids[name] = writer.addInterface({ linkType: LinkType.Raw, name });
        opened.onFailure = (error: TunconnectorError) => {
          // The packets go on without it.
          writer = undefined;
          ctx.note(error.message);
        };
        flush(ctx);
      },
      close: end,
      state: () => null,
      process(packet, flow, ctx) {
        if (writer === undefined || left === 0) return 'forward';
        if (direction !== 'both' && direction !== flow.direction) return 'forward';
        if (finder) {
          flow.state ??= finder.find(packet, flow.direction) >= 0;
          if (!flow.state) return 'forward';
        }
        if (output!.pending >= PENDING) {
          ctx.count('missed');
          return 'forward';
        }
        const length = packet.copyTo(bytes);
        writer.packet(ids[flow.direction], ctx.time, bytes, 0, length, packet.length);
        ctx.count('mirrored');
        if (--left === 0) writer.flush();
        return 'forward';
      },
    };
  },
});
