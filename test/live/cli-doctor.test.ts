import { describe, expect, test } from 'vitest';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import { needs } from '../needs.ts';
import { BIN, runToEnd, scratchDirectory, twoHosts } from './cli-world.ts';

describe.skipIf(needs('netns', 'userns', 'tun', 'ip'))('tunconnector doctor', () => {
  test('tries the offloads, finds this machine fit, and changes nothing', async () => {
    await using hosts = await twoHosts();
    const before = await hosts.client.snapshot();
    const { code, stdout, stderr } = await runToEnd(hosts.client, 'doctor --json', 30_000);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { fit, findings } = JSON.parse(stdout) as { fit: boolean; findings: Finding[] };
    expect(fit).toBe(true);
    const offloads = findings.filter(({ group }) => group === 'offloads');
    expect(offloads.map(({ name }) => name)).toEqual([
      'vnet_hdr',
      'TSO for IPv4',
      'TSO for IPv6',
      'USO',
      'UDP_SEGMENT',
      'UDP_GRO',
      'PACKET_VNET_HDR',
    ]);
    expect(offloads.find(({ name }) => name === 'TSO for IPv4')?.found).toBe('yes, tried');
    for (const finding of findings) if (finding.mark !== 'ok') expect(finding.remedy).toBeTruthy();
    expect(await hosts.client.snapshot()).toBe(before);
  });

  test('looks at running tunnels: their queue, their MTU', async () => {
    await using hosts = await twoHosts();
    await using scratch = await scratchDirectory();
    const env = { ...process.env, XDG_RUNTIME_DIR: scratch.path };
    const server = hosts.server.node(BIN, ['-m', 'server', '-p', 'tun7', '-s', '10.9.0.1'], { env });
    await server.waitFor('tun7 is up');
    await hosts.server.ip('link set tun7 txqueuelen 5');
    const doctor = hosts.server.node(BIN, ['doctor'], { env });
    expect((await doctor.ended).code).toBe(0);
    expect(doctor.stdout).toContain('- queue: room for 5 packets (bursts are lost)');
    expect(doctor.stdout).toContain('ip link set tun7 txqueuelen');
    await server.stop();
  });

  test('what is needed and missing is exit code 1 with a remedy', async () => {
    await using hosts = await twoHosts();
    const env = { ...process.env, TUNCONNECTOR_NATIVE: '0' };
    const doctor = hosts.server.node(BIN, ['doctor'], { env });
    expect((await doctor.ended).code).toBe(1);
    expect(doctor.stdout).toMatch(/! native addon: .*\n {4}npm run build:native/);
  });

  test('--clean undoes what a tunnel left that was killed with its janitor, --dry-run only says it', async () => {
    await using hosts = await twoHosts();
    // The brackets keep the script, which is a command line too, from finding itself.
    // A /run of its own: the records of other tests are none of its business.
    const script = `
      mount -t tmpfs none /run || exit 9
      tunconnector() { '${process.execPath}' '${BIN}' "$@"; }
      '${process.execPath}' '${BIN}' -m server -p tun0 -s 10.9.0.1 --forward >/dev/null &
      tunnel=$!
      until grep -q 1 /proc/sys/net/ipv4/ip_forward && ls /run/tunconnector/*.json >/dev/null 2>&1; do sleep 0.05; done
      for p in /proc/[0-9]*; do
        [ $p/ns/mnt -ef /proc/$$/ns/mnt ] || continue
        if grep -qsa 'live-janitor-chil[d]' $p/cmdline; then kill -9 \${p#/proc/}; fi
      done
      kill -9 $tunnel
      tunconnector doctor --clean --dry-run
      cat /proc/sys/net/ipv4/ip_forward
      tunconnector doctor --clean
      cat /proc/sys/net/ipv4/ip_forward
      tunconnector doctor --clean`;
    const { stdout, stderr, code } = await hosts.server.exec(['unshare', '--mount', 'sh', '-c', script]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const [dry, wet] = [/to undo: .*\n/g, /undone: .*\n/g].map((pattern) => stdout.match(pattern) ?? []);
    expect(dry!.join()).toContain('sysctl net.ipv4.ip_forward (was 0)');
    expect(wet!.map((line) => line.replace('undone', 'to undo'))).toEqual(dry);
    expect(stdout.match(/^[01]$/gm)).toEqual(['1', '0']);
    expect(stdout).toMatch(/nothing was left behind\n$/);
  });

  test('--dry-run belongs to --clean', async () => {
    await using hosts = await twoHosts();
    expect(await runToEnd(hosts.server, 'doctor --dry-run')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--clean'),
    });
  });
});
