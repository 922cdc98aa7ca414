import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { READY_MADE } from '../../src/chain/functions/index.ts';
import { COMMAND_NAMES, commandOf } from '../../src/cli/main.ts';
import { functionOptions } from '../../src/cli/member/vnf-options.ts';
import { filesUnder, read, root } from '../house/sources.ts';
import { needs } from '../needs.ts';

/** The options of a command line of these examples, as the command understands them, without running it. */
async function understood([first, ...words]: readonly string[]): Promise<Record<string, unknown>> {
  const name = COMMAND_NAMES.find((each) => each === first);
  if (!name) throw new Error(`there is no command ${first}`);
  const command = await commandOf(name);
  command.action(() => {}).parse(words, { from: 'user' });
  const options = command.opts();
  if (name === 'vnf') {
    const own = functionOptions(command, (options.option as string[] | undefined) ?? []);
    READY_MADE.get(command.args[0]!)?.check(own as never);
  }
  return options;
}

interface Container {
  name: string;
  image: string;
  args?: string[];
  securityContext?: { capabilities: { drop: string[]; add?: string[] } };
  volumeMounts?: { name: string; mountPath: string }[];
  ports?: { name: string; containerPort: number }[];
}
interface PodSpec {
  containers: Container[];
  volumes?: { name: string; secret?: { secretName: string }; configMap?: { name: string } }[];
}
interface Resource {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels?: Record<string, string> };
  spec?: PodSpec & {
    selector?: { matchLabels: Record<string, string> } & Record<string, unknown>;
    template?: { metadata: { labels: Record<string, string> }; spec: PodSpec };
    ports?: { name: string; port: number; targetPort?: string }[];
    volumeClaimTemplates?: { metadata: { name: string } }[];
  };
}

describe('the manifests for Kubernetes', () => {
  const { resources: names, configMapGenerator } = parse(read('examples/kubernetes/kustomization.yaml')) as {
    resources: string[];
    configMapGenerator: { name: string; files: string[] }[];
  };
  const resources = names.flatMap((name) =>
    parseAllDocuments(read(`examples/kubernetes/${name}`)).map((document) => {
      expect(document.errors).toEqual([]);
      return document.toJS() as Resource;
    }),
  );
  const pods = resources
    .filter(({ kind }) => ['Deployment', 'StatefulSet', 'Pod'].includes(kind))
    .map(({ kind, metadata, spec }) => ({
      name: metadata.name,
      labels: spec!.template?.metadata.labels ?? metadata.labels!,
      selector: kind === 'Pod' ? undefined : spec!.selector!.matchLabels,
      claims: spec!.volumeClaimTemplates?.map((claim) => claim.metadata.name) ?? [],
      spec: spec!.template?.spec ?? spec!,
    }));
  const containers = pods.flatMap(({ spec }) => spec.containers);
  const ours = containers.filter(({ image }) => image === 'tunconnector');

  it('are all listed', () => {
    const config = configMapGenerator.flatMap(({ files }) => files);
    const files = filesUnder('examples/kubernetes', '.yaml').map((file) => path.basename(file));
    expect(files.sort()).toEqual([...names, ...config, 'kustomization.yaml'].sort());
  });

  it('have the types of the Kubernetes API', { timeout: 60_000 }, () => {
    const where = (apiVersion: string) => (apiVersion === 'v1' ? 'core/v1' : apiVersion);
    const texts = resources.map((resource, n) => {
      const from = `kubernetes-types/${where(resource.apiVersion)}`;
      return `import type { ${resource.kind} as K${n} } from '${from}';\nexport const r${n}: K${n} = ${JSON.stringify(resource)};`;
    });
    // A typing error in a field's name, to see that it would be found.
    const wrong = texts.at(-1)!.replace('"containers"', '"container"');
    mkdirSync(path.join(root, '.cache'), { recursive: true });
    const folder = mkdtempSync(path.join(root, '.cache', 'kubernetes-'));
    const compiled = (name: string, text: string) => {
      const file = path.join(folder, name);
      writeFileSync(file, text);
      const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
      const how = ['--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck', '--types', 'node'];
      const { stdout, stderr } = spawnSync(process.execPath, [
        tsc,
        ...how,
        ...[
          '--module',
          'esnext',
          '--moduleResolution',
          'bundler',
          '--target',
          'es2022',
          '--lib',
          'es2023',
          file,
        ],
      ]);
      return `${stdout}${stderr}`;
    };
    try {
      expect(compiled('right.ts', texts.join('\n'))).toBe('');
      expect(compiled('wrong.ts', wrong)).toMatch(/container/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.skipIf(needs('kubectl'))('are put together by kubectl', () => {
    const folder = path.join(root, 'examples/kubernetes');
    const { status, stdout } = spawnSync('kubectl', ['kustomize', folder], { encoding: 'utf8' });
    expect(status).toBe(0);
    expect(stdout.match(/^kind: /gm)).toHaveLength(resources.length + configMapGenerator.length);
  });

  it('fit together: labels, ports, volumes', () => {
    for (const { kind, spec, metadata } of resources) {
      if (kind !== 'Service') continue;
      const behind = pods.filter(({ labels }) => labels.app === spec!.selector!.app);
      expect(behind, metadata.name).toHaveLength(1);
      const open = behind[0]!.spec.containers.flatMap(({ ports }) => ports ?? []);
      for (const port of spec!.ports!)
        expect(open).toContainEqual(expect.objectContaining({ name: port.name, containerPort: port.port }));
    }
    const secrets = /create secret (?:generic|tls) (\S+)/g;
    const made = [...read('examples/kubernetes/README.md').matchAll(secrets)].map((found) => found[1]);
    for (const { selector, labels, claims, spec } of pods) {
      if (selector) expect(labels).toMatchObject(selector);
      const volumes = [...(spec.volumes ?? []).map(({ name }) => name), ...claims];
      const mounted = spec.containers.flatMap(({ volumeMounts }) => volumeMounts ?? []);
      expect(new Set(mounted.map(({ name }) => name))).toEqual(new Set(volumes));
      for (const { secret, configMap } of spec.volumes ?? []) {
        if (secret) expect(made).toContain(secret.secretName);
        if (configMap) expect(configMapGenerator.map(({ name }) => name)).toContain(configMap.name);
      }
    }
  });

  it('have command lines that are understood, with no more privileges than these commands need', async () => {
    const commands = ours.map(({ args }) => args![0]);
    expect(new Set(commands)).toEqual(new Set(['roulette', 'vnf', 'ingress', 'egress', 'client']));
    for (const { args, securityContext, volumeMounts } of ours) {
      const options = await understood(args!);
      for (const file of [options.ca, options.tokenFile, options.tokens, options.tlsCert, options.config]) {
        if (typeof file !== 'string') continue;
        expect(volumeMounts!.map(({ mountPath }) => mountPath)).toContain(path.dirname(file));
      }
      const hasTun = args![0] === 'egress' || args![0] === 'client';
      expect(securityContext!.capabilities).toEqual({ drop: ['ALL'], ...(hasTun && { add: ['NET_ADMIN'] }) });
      expect(volumeMounts!.some(({ mountPath }) => mountPath === '/dev/net/tun')).toBe(hasTun);
    }
  });

  it('name functions that the registry will have', () => {
    const { tenants } = parse(read('examples/kubernetes/registry.yaml')) as {
      tenants: Record<string, { functions: string[]; chains: Record<string, string[]> }>;
    };
    const run = ours.filter(({ args }) => args![0] === 'vnf').map(({ args }) => args![1]!);
    expect(tenants[42]!.functions.sort()).toEqual(run.sort());
    for (const chain of Object.values(tenants[42]!.chains))
      expect(run).toEqual(expect.arrayContaining(chain));
  });
});

/** As a shell makes words of it. */
const wordsOf = (line: string) =>
  [...line.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replace(/["']/g, ''));

describe('the command lines of members in', () => {
  const pages = [
    'README.md',
    'docs/cli.md',
    'docs/chain/members.md',
    'src/cli/member/vnf.ts',
    'src/cli/member/ingress.ts',
  ];

  it.each(pages)('%s are understood', async (page) => {
    const text = read(page).replace(/\\+\n/g, '');
    const all = text.matchAll(/^ *tunconnector ((?:vnf|ingress|egress|client|roulette) .*)$/gm);
    const lines = [...all].map(([, line]) => line!).filter((line) => !/--config|\[options\]/.test(line));
    expect(lines.length).toBeGreaterThan(1);
    for (const line of lines) await understood(wordsOf(line.replace(/(\s+#.*|`,)$/, '')));
  });

  it('a page that is wrong are not', async () => {
    await expect(understood(wordsOf("vnf firewall --option rules='allow *'"))).rejects.toThrow(
      /unknown key "rules"/,
    );
    await expect(understood(wordsOf('ingress --tunel 10.8.0.1/24'))).rejects.toThrow(/unknown option/);
  });
});

describe('the compose file', () => {
  interface Service {
    image: string;
    command: string[];
    cap_drop?: string[];
    cap_add?: string[];
    devices?: string[];
    secrets?: string[];
    depends_on?: string[];
    network_mode?: string;
  }
  const { services, secrets } = parse(read('examples/compose/compose.yaml'), { merge: true }) as {
    services: Record<string, Service>;
    secrets: Record<string, { file: string }>;
  };
  const ours = Object.values(services).filter(({ image }) => image === 'tunconnector');

  it('has command lines that are understood, with no more privileges than these commands need', async () => {
    expect(ours).toHaveLength(6);
    for (const { command, cap_drop, cap_add, devices, secrets: given } of ours) {
      const options = await understood(command);
      const hasTun = command[0] === 'egress' || command[0] === 'client';
      expect(cap_drop).toEqual(['ALL']);
      expect(cap_add).toEqual(hasTun ? ['NET_ADMIN'] : undefined);
      expect(devices).toEqual(hasTun ? ['/dev/net/tun:/dev/net/tun'] : undefined);
      for (const file of [options.tokenFile, options.tokens]) {
        if (typeof file === 'string') expect(given).toContain(path.basename(file));
      }
    }
  });

  it('names services and secrets that are there', () => {
    for (const { depends_on = [], network_mode, secrets: given = [] } of Object.values(services)) {
      for (const name of depends_on) expect(Object.keys(services)).toContain(name);
      if (network_mode) expect(Object.keys(services)).toContain(network_mode.replace('service:', ''));
      for (const name of given) expect(Object.keys(secrets)).toContain(name);
    }
    for (const { file } of Object.values(secrets))
      expect(read('examples/compose/.gitignore')).toContain(`${file}\n`);
  });
});
