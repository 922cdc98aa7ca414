/**
 * A TUN that another process opened, in a network namespace that this one cannot enter, and whose descriptor it handed over:
 * so packets of the namespace of an ordinary user's command are moved by a process that stays outside.
 */
import { z } from 'zod';
import { defineApp } from '../engine/app.ts';
import { checkOptions } from '../engine/options.ts';
import { TunPort, tun } from './tun.ts';

const schema = z.strictObject({
  /** A number means the same descriptor in every thread of a process. */
  fd: z.number().int().min(0),
  name: z.string(),
  /** In its namespace. */
  index: z.number().int(),
  /** What the kernel granted when it was opened. */
  vnetHeader: z.number().int(),
  offloads: z.number().int(),
});

export type HandedTun = z.output<typeof schema>;

/** The descriptor is closed with the app, and gone. */
export const handedTun = defineApp<HandedTun, HandedTun>({
  module: import.meta.url,
  export: 'handedTun',
  check: (options) => checkOptions(schema, options),
  create: (options) => {
    const { options: checked } = tun.create({ name: options.name }) as TunPort;
    return new TunPort(checked, options);
  },
});
