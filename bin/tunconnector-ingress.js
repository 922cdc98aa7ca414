#!/usr/bin/env node
// `tunconnector ingress` under a name of its own.
process.argv.splice(2, 0, 'ingress');
import('./tunconnector.js');
