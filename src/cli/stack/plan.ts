/** What `tunconnector stack up` sets up: interfaces, and the routes between them. */

export interface StackPlan {
  interfaces: PlannedInterface[];
  routes: { to: string; via?: string; interface?: string }[];
}

export interface PlannedInterface {
  /** A TUN or TAP that is made, or an Ethernet interface that is there. */
  kind: 'tun' | 'tap' | 'interface';
  /** Of that device. */
  name: string;
  addresses: string[];
  /** Of this machine, on the device that is made. */
  hostAddresses?: string[];
  mac?: string;
  mtu?: number;
  /** Whether its IPv4 address comes from a DHCP server. */
  dhcp?: boolean;
}
