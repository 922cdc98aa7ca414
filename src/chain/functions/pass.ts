/** Lets everything through as it is: for measuring, and as a place to begin from. */
import { defineVnf } from '../vnf/define.ts';

export const pass = defineVnf({
  name: 'pass',
  module: import.meta.url,
  export: 'pass',
  superframes: true,
  process: () => 'forward',
});
