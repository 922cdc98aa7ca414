#!/usr/bin/env node
// `tunconnector egress` under a name of its own.
process.argv.splice(2, 0, 'egress');
import('./tunconnector.js');
