export const ROOTS: Set<string>;
export function hasRoots(file: string): boolean;
export function lintPacketPaths(
  files: readonly string[],
  read?: (file: string) => string | undefined,
): string[];
