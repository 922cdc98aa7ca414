export function lintSource(text: string, file: string): string[];
export function lintDirectory(directory: string): string[];
