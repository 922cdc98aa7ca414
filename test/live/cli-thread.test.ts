import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { BIN, pings, SERVER, scratchDirectory, tunconnector, twoHosts } from './cli-world.ts';

const skip = needs('netns', 'tun', 'ip', 'ping');

/** A server whose packet thread does something when a file is there. */
function misbehaving(host: Host, file: string, what: string) {
  const code = `
    import { existsSync } from 'node:fs';
    import { isMainThread } from 'node:worker_threads';
    if (!isMainThread) setInterval(() => { if (existsSync(${JSON.stringify(file)})) { ${what} } }, 20);`;
  const env = { ...process.env, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}` };
  return host.node(BIN, '-m server -s 10.0.0.2 -i 55555'.split(' '), { env });
}

/** How many threads a process has. */
function threads(pid: number): number {
  return Number(/^Threads:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
}

describe.skipIf(skip)('--thread', () => {
  it('main moves packets without another thread, worker with one', async () => {
    await using hosts = await twoHosts();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555 --thread main');
    await server.waitFor('is up');
    await using client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER} --thread worker`);
    await client.waitFor('is up');
    expect(await pings(hosts.client, '10.0.0.2')).toBe(true);
    expect(threads(client.pid!)).toBeGreaterThan(threads(server.pid!));
    expect((await server.stop('SIGINT')).code).toBe(0);
    expect(server.stdout).toMatch(/into the tunnel .*2 .*\n.*out of the tunnel .*2 /);
    expect((await client.stop('SIGINT')).code).toBe(0);
    expect(client.stdout).toMatch(/into the tunnel .*2 .*\n.*out of the tunnel .*2 /);
  });

  it('worker: an error nobody caught in the thread ends the command with 1, its report, and nothing left', async () => {
    await using hosts = await twoHosts();
    await using directory = await scratchDirectory();
    const before = await hosts.server.snapshot();
    const file = `${directory.path}/now`;
    const server = misbehaving(hosts.server, file, "throw new Error('broken on purpose');");
    await server.waitFor('is up');
    await hosts.server.exec(['touch', file], { check: true });
    expect((await server.ended).code).toBe(1);
    expect(server.stderr).toMatch(/broken on purpose/);
    expect(server.stdout).toMatch(/tun1: server on UDP port 55555, up for/);
    expect(await hosts.server.snapshot()).toBe(before);
  });

  it('worker: a thread that hangs does not hold up Ctrl-C for long', async () => {
    await using hosts = await twoHosts();
    await using directory = await scratchDirectory();
    const before = await hosts.server.snapshot();
    const file = `${directory.path}/now`;
    const server = misbehaving(hosts.server, file, 'for (;;);');
    await server.waitFor('is up');
    await hosts.server.exec(['touch', file], { check: true });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const start = performance.now();
    server.kill('SIGINT');
    expect((await server.ended).code).toBe(0);
    expect(performance.now() - start).toBeLessThan(8000);
    expect(await hosts.server.snapshot()).toBe(before);
  });
});
