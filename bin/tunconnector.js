#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';

// A tunnel's first packets run in the interpreter, and with few packets that lasts for minutes: code is optimised after a
// quarter of the usual work. And what starting up left behind is not worth collections that hold packets up some seconds
// later: V8's "memory reducer" is for pages that idle. Measured in docs/decisions/010.
setFlagsFromString('--interrupt-budget=16384');
setFlagsFromString('--no-memory-reducer');

import('../dist/cli/main.js').then(
  ({ main }) => main(process.argv.slice(2)),
  (error) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND' || !String(error.message).includes('dist/cli/main.js'))
      throw error;
    process.stderr.write('tunconnector: it is not built; run `npm run build:all` in its folder\n');
    process.exitCode = 5;
  },
);
