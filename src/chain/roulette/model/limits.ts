/** How much of everything there may be. */

export interface Limits {
  tenants: number;
  /** Of each tenant, as all that follows. */
  functions: number;
  chains: number;
  /** Revisions of one chain: the one in force and those that packets still carry. */
  revisions: number;
  replicas: number;
  leases: number;
  rules: number;
  flows: number;
  suspects: number;
  /** Flows that are traced at a time. */
  traces: number;
}

export const DEFAULT_LIMITS: Readonly<Limits> = {
  tenants: 1024,
  functions: 1024,
  chains: 1024,
  revisions: 16,
  replicas: 4096,
  leases: 4096,
  rules: 1024,
  flows: 200_000,
  suspects: 256,
  traces: 16,
};

/** Flows in one request: each is an operation and a comparison, and a transaction has at most 128. */
export const FLOWS_PER_REQUEST = 64;
/** Functions of a chain: far below what NSH's length field can hold, 6 bits of 4-byte words. */
export const FUNCTIONS_PER_CHAIN = 32;
/** Bytes of JSON of one rule's match, and of a tenant's whole classifier: etcd takes 1.5 MiB in a request. */
export const MATCH_BYTES = 2048;
export const CLASSIFIER_BYTES = 512 << 10;
