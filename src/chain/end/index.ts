export { End, end } from './end.ts';
export type { EndOptions } from './options.ts';
export { EndDrop } from './reasons.ts';
