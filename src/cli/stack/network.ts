/** The network of a plan: a port for each interface, neighbours where it carries frames, and one stack. */
import type { App, AppSpec } from '../../engine/app.ts';
import type { NetworkConfig } from '../../engine/config.ts';
import { Neighbours, Stack } from '../../stack/index.ts';
import { packetSocket } from '../../tun/packet-socket.ts';
import { tun } from '../../tun/tun.ts';
import type { PlannedInterface, StackPlan } from './plan.ts';

export interface StackSettings {
  forward: boolean;
  echo: boolean;
  nameservers: string[];
}

export interface PlannedNetwork {
  config: NetworkConfig;
  stack: Stack;
  /** By name of the interface, where it carries frames. */
  neighbours: Map<string, Neighbours>;
  /** App names of the ports, for captures. */
  ports: string[];
}

export const MTU = 1500;

export function plannedNetwork(plan: StackPlan, settings: StackSettings): PlannedNetwork {
  const stack = new Stack({
    interfaces: plan.interfaces.map(({ name, addresses, mtu = MTU }) => ({
      name: appName(name),
      addresses,
      mtu,
    })),
    routes: plan.routes.map(({ interface: name, ...route }) => ({
      ...route,
      ...(name !== undefined && { interface: appName(name) }),
    })),
    ...settings,
  });
  const apps: Record<string, App | AppSpec> = { stack };
  const links: string[] = [];
  const neighbours = new Map<string, Neighbours>();
  const ports: string[] = [];
  for (const planned of plan.interfaces) {
    const inside = appName(planned.name);
    const port = `port-${inside}`;
    apps[port] = portOf(planned);
    ports.push(port);
    if (planned.kind === 'tun') {
      links.push(`${port}.out -> stack.${inside}`, `stack.${inside} -> ${port}.in`);
      continue;
    }
    const { addresses, mac } = planned;
    const between = new Neighbours({ addresses, ...(mac !== undefined && { mac }) });
    neighbours.set(planned.name, between);
    const name = `neighbours-${inside}`;
    apps[name] = between;
    links.push(`${port}.out -> ${name}.frames`, `${name}.frames -> ${port}.in`);
    links.push(`${name}.packets -> stack.${inside}`, `stack.${inside} -> ${name}.packets`);
  }
  return { config: { apps, links } as NetworkConfig, stack, neighbours, ports };
}

const portOf = ({ kind, name }: PlannedInterface): AppSpec =>
  kind === 'interface' ? packetSocket({ interface: name }) : tun({ name, mode: kind });

/** A device may have dots and more in its name. */
export const appName = (name: string): string => name.replace(/[^\w-]/g, '_').replace(/^(?=[\d-])/, '_');
