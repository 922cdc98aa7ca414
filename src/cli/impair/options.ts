/**
 * The stages of a link as options of the command line: `--delay 50ms --loss 1%` for both directions, `--up-rate 5mbit` for
 * one. Packets pass them in the order in which they are given.
 */
import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { TunconnectorError } from '../../errors.ts';
import { parseWritten } from '../../impair/spec/file.ts';
import { PRESET_NAMES } from '../../impair/spec/presets.ts';
import { type CompiledSpec, compileSpec, type WrittenSpec } from '../../impair/spec/spec.ts';
import { parseStages } from '../../impair/spec/text.ts';
import { usageError } from '../exit.ts';

const SIDES = ['both', 'up', 'down'] as const;
type Side = (typeof SIDES)[number];

/** What each option takes and does. The words behind it are those of a pipeline's text. */
const STAGES: Record<string, string> = {
  delay: 'TIME [JITTER]: every packet leaves so much later',
  loss: 'SHARE, or a model: packets that never leave',
  rate: 'RATE [queue NAME]: so many bits in a second, and a queue in front',
  police: 'RATE: what is beyond it is dropped',
  duplicate: 'SHARE: packets that leave twice',
  corrupt: 'SHARE: packets with a wrong bit',
  slot: 'MIN [MAX]: packets leave together, in slots of time',
  onoff: 'ON OFF: a link that comes and goes',
  mtu: 'BYTES: larger packets are dropped',
  rebind: 'TIME [every TIME]: a NAT that gives flows other ports',
  blackhole: 'from TIME [until TIME]: nothing passes',
};

/** Those that are nothing in one direction alone. */
const BOTH_WAYS = new Set(['rebind']);

/** One stage that was given, as text or as an object of its spec. */
interface Given {
  side: Side;
  flag: string;
  stage: string | Record<string, unknown>;
}

export interface StageFlags {
  /** The options that were given, as a spec. @throws ERR_CONFIG, ERR_USAGE */
  spec(): CompiledSpec;
  /** The same as it was written. */
  written(): WrittenSpec;
  /** The file it was read from, which may be read again. */
  readonly file: string | undefined;
}

/** Adds the options that say what a link does to a command. */
export function addStageFlags(command: Command): StageFlags {
  const given: Given[] = [];
  for (const side of SIDES) {
    const prefix = side === 'both' ? '' : `${side}-`;
    const heading = side === 'both' ? 'Both directions:' : undefined;
    for (const [kind, help] of Object.entries(STAGES)) {
      if (side !== 'both' && BOTH_WAYS.has(kind)) continue;
      const flag = `--${prefix}${kind}`;
      const option = new Option(`${flag} <words>`, help).argParser((text: string) => {
        given.push({ side, flag, stage: `${kind} ${text}` });
        return text;
      });
      command.addOption(heading ? option.helpGroup(heading) : option.hideHelp());
    }
    const option = new Option(
      `--${prefix}trace <file>`,
      'when packets may leave, as mahimahi has it, or a .csv',
    ).argParser((file: string) => {
      given.push({ side, flag: `--${prefix}trace`, stage: traceOf(file) });
      return file;
    });
    command.addOption(heading ? option.helpGroup(heading) : option.hideHelp());
  }
  command.addOption(
    new Option('--replay <file>', 'what a log of an earlier run says became of each packet')
      .helpGroup('Both directions:')
      .argParser((file: string) => {
        given.push({
          side: 'both',
          flag: '--replay',
          stage: { kind: 'replay', text: readText('--replay', file) },
        });
        return file;
      }),
  );
  command.addOption(
    new Option('--preset <name>', `a link of a kind: ${PRESET_NAMES.join(', ')}`).helpGroup('The link:'),
  );
  command.addOption(
    new Option('--spec <file>', 'YAML or JSON: rules for flows, a timeline, and all of the above').helpGroup(
      'The link:',
    ),
  );
  command.addOption(
    new Option('--seed <number>', 'of all that is drawn; another one each time when not given').helpGroup(
      'The link:',
    ),
  );
  const options = () => command.opts<{ spec?: string; preset?: string; seed?: string }>();
  return {
    get file() {
      return options().spec;
    },
    spec() {
      return compileSpec(this.written());
    },
    written() {
      const { spec: file, preset, seed } = options();
      const number = seed === undefined ? undefined : seedOf(seed);
      const [first] = given;
      if (file === undefined) return fromFlags(given, preset, number);
      if (first) throw usageError(`${first.flag} and --spec: give one of them`, 'put it into the file');
      if (preset !== undefined)
        throw usageError('--preset and --spec: give one of them', 'put it into the file');
      const written = parseWritten(readText('--spec', file), file);
      return number === undefined ? written : { ...written, seed: number };
    },
  };
}

function fromFlags(
  given: readonly Given[],
  preset: string | undefined,
  seed: number | undefined,
): WrittenSpec {
  // Each on its own, so that what is wrong is told of the option where it is.
  for (const { flag, stage } of given) {
    try {
      // For its errors, which name the word: those of a spec show all of the text.
      if (typeof stage === 'string') parseStages(stage);
      compileSpec({ both: [stage] });
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      throw new TunconnectorError(
        'ERR_USAGE',
        `${flag}: ${error.message.replace(/^both(\.0)?(\.|: )/, '')}`,
        { cause: error },
      );
    }
  }
  const side = (wanted: Side) => {
    const stages = given.flatMap(({ side, stage }) => (side === wanted || side === 'both' ? [stage] : []));
    return stages.length === 0 ? {} : { [wanted]: stages };
  };
  if (preset !== undefined && given.length > 0) {
    throw usageError(
      `${given[0].flag} and --preset: give one of them`,
      'a spec file can have both, see docs/impair/README.md',
    );
  }
  const written = {
    ...(preset === undefined ? {} : { preset }),
    ...(seed === undefined ? {} : { seed }),
    ...side('up'),
    ...side('down'),
  } as WrittenSpec;
  compileSpec(written);
  return written;
}

function traceOf(file: string): Record<string, unknown> {
  return {
    kind: 'trace',
    format: file.endsWith('.csv') ? 'csv' : 'mahimahi',
    text: readText('--trace', file),
  };
}

function readText(flag: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw usageError(`${flag}: cannot read ${file} (${code})`);
  }
}

function seedOf(text: string): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(number)) return number;
  throw usageError(`--seed: found "${text}", expected a whole number, 0 to 2^53 - 1`);
}
