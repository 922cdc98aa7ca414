/** `tunconnector doctor`: whether this machine can do what the tunnel needs, what makes it slow, and what helps. */
import Table from 'cli-table3';
import { Command } from 'commander';
import { doctorClean } from '../tun/system/live-system.ts';
import { type Finding, isFit } from './doctor/finding.ts';
import {
  bufferFinding,
  machineFindings,
  permissionFindings,
  programFindings,
  toolFindings,
} from './doctor/machine.ts';
import { offloadFindings } from './doctor/offloads.ts';
import { tunnelFindings } from './doctor/tunnels.ts';
import { Exit, usageError } from './exit.ts';

interface Options {
  json?: boolean;
  clean?: boolean;
  dryRun?: boolean;
}

/** @param done receives the exit code when the command has ended */
export function doctorCommand(done: (code: number) => void): Command {
  return new Command('tunconnector doctor')
    .description('Says what this machine has, what it lacks, what that costs, and what helps.')
    .option('--json', 'one JSON object instead of the table')
    .option('--clean', 'undo what commands left behind that were killed together with their helpers')
    .option('--dry-run', 'with --clean: only say what there is to undo')
    .addHelpText(
      'after',
      `
Offloads are tried in a throw-away network namespace; nothing of this host is
changed. Exit codes: 0 the tunnel can run, 1 something that it needs is missing.

Examples:
  tunconnector doctor
  tunconnector doctor --json | jq '.findings[] | select(.mark != "ok")'
  tunconnector doctor --clean --dry-run`,
    )
    .action(async (options: Options) => done(await doctor(options)));
}

async function doctor({ json = false, clean = false, dryRun = false }: Options): Promise<number> {
  if (dryRun && !clean) throw usageError('--dry-run: nothing to leave out', 'it belongs to --clean');
  if (clean) {
    const changes = await doctorClean({ dryRun });
    process.stdout.write(json ? `${JSON.stringify({ dryRun, changes })}\n` : cleanText(changes, dryRun));
    return Exit.ok;
  }
  const findings = await examine();
  const fit = isFit(findings);
  process.stdout.write(json ? `${JSON.stringify({ fit, findings })}\n` : `${doctorText(findings)}\n`);
  return fit ? Exit.ok : Exit.failure;
}

/** Everything that is to be known, in the order in which it is shown. */
async function examine(): Promise<Finding[]> {
  const program = programFindings();
  // Without the addon there is nothing to try with.
  const works = isFit(program);
  const parts = await Promise.all([
    machineFindings(),
    works ? [bufferFinding()] : [],
    permissionFindings(),
    toolFindings(),
    works ? offloadFindings() : [],
    tunnelFindings(),
    leftovers(),
  ]);
  return [...program, ...parts.flat()];
}

async function leftovers(): Promise<Finding[]> {
  const changes = await doctorClean({ dryRun: true }).catch(() => []);
  if (changes.length === 0) return [];
  const about = { group: 'left behind', mark: 'slow', remedy: 'tunconnector doctor --clean' } as const;
  return changes.map((found) => ({ ...about, name: 'by a killed command', found }));
}

function cleanText(changes: readonly string[], dryRun: boolean): string {
  if (changes.length === 0) return 'nothing was left behind\n';
  return changes.map((change) => `${dryRun ? 'to undo' : 'undone'}: ${change}\n`).join('');
}

/** Of what was found, so that the table fits into 80 columns. */
const WIDTH = 36;

/** A table of what there is; below it, for each that is not well, what it costs and what helps. */
export function doctorText(findings: readonly Finding[]): string {
  const table = new Table({
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    style: { head: [], border: [] },
  });
  let group = '';
  for (const finding of findings) {
    table.push([
      finding.group === group ? '' : finding.group,
      finding.name,
      finding.mark === 'missing' && !finding.needed ? 'not there' : finding.mark,
      finding.found.length > WIDTH ? `${finding.found.slice(0, WIDTH - 1)}…` : finding.found,
    ]);
    group = finding.group;
  }
  const troubles = findings.filter(({ mark }) => mark !== 'ok').map(troubleText);
  const summary = isFit(findings)
    ? `the tunnel can run here${troubles.length > 0 ? '; what would be better:' : ', and nothing holds it back'}`
    : 'the tunnel cannot run here before what is missing is there:';
  return [table.toString(), summary, ...troubles].join('\n');
}

function troubleText({ name, mark, found, cost, remedy, needed }: Finding): string {
  const bullet = mark === 'missing' && needed ? '!' : '-';
  const lines = [`${bullet} ${name}: ${found}${cost ? ` (${cost})` : ''}`];
  if (remedy) lines.push(`    ${remedy}`);
  return lines.join('\n');
}
