#!/usr/bin/env node
import('../dist/cli/main.js').then(
  ({ main }) => main(process.argv.slice(2)),
  (error) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND' || !String(error.message).includes('dist/cli/main.js'))
      throw error;
    process.stderr.write('tunconnector: it is not built; run `npm run build:all` in its folder\n');
    process.exitCode = 5;
  },
);
