/**
 * Gives a chain other functions: `chain-put.js URL TOKEN TENANT SPI FUNCTION...`. The connection is open before, as that of a program
 * that looks after chains is. It says when it asked and when that was answered: ms since 1970.
 */
import { RouletteClient } from 'tunconnector/roulette';

const [url, token, tenant, spi, ...functions] = process.argv.slice(2);
if (!url || !token || functions.length === 0) {
  process.stderr.write('usage: chain-put.js URL TOKEN TENANT SPI FUNCTION...\n');
  process.exit(2);
}
const client = new RouletteClient({ url, token, tenant: Number(tenant) });
const { rev } = await client.chain(Number(spi));
const asked = Date.now();
await client.putChain(Number(spi), { functions, ifRev: rev });
process.stdout.write(`${JSON.stringify({ asked, answered: Date.now() })}\n`);
