/** Programs that others bring: whether they are there. */
import { accessSync, constants } from 'node:fs';
import path from 'node:path';

const DEBIAN: Record<string, string> = { wg: 'wireguard-tools' };

export function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((directory) => {
    try {
      accessSync(path.join(directory || '.', program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Why a subject that needs these cannot take part, or undefined. */
export function unmetNeeds(needs: readonly string[]): string | undefined {
  const missing = needs.filter((each) => !isInstalled(each));
  if (missing.length === 0) return undefined;
  const packages = missing.map((each) => DEBIAN[each] ?? each).join(' ');
  return `${missing.join(' and ')} not installed (apt-get install ${packages})`;
}
