/**
 * Where Roulette's requests are over HTTP: for its server, for its members, and for the client of people and pages. Plain text,
 * for a browser too.
 */

export interface Route {
  method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Below the tenant. `:spi` is the field `spi` of the body, which does not have it then. */
  path: string;
}

export const API = '/v1';
export const DEFAULT_PORT = 7590;

/** Where all tenants are that one may see. */
export const TENANTS = `${API}/tenants`;
export const tenantPath = (tenant: number | string): string => `${TENANTS}/${tenant}`;

/** By the name of the request. Of several, the first whose fields are all there. */
export const ROUTES = {
  'tenant.put': [{ method: 'PUT', path: '' }],
  'tenant.remove': [{ method: 'DELETE', path: '' }],
  'function.put': [{ method: 'PUT', path: '/functions/:name' }],
  'function.remove': [{ method: 'DELETE', path: '/functions/:name' }],
  'chain.put': [{ method: 'PUT', path: '/chains/:spi' }],
  'chain.end': [{ method: 'DELETE', path: '/chains/:spi' }],
  'classifier.put': [{ method: 'PUT', path: '/classifier' }],
  'lease.grant': [{ method: 'POST', path: '/leases' }],
  'lease.keep': [{ method: 'POST', path: '/leases/:lease/keep' }],
  'lease.end': [{ method: 'DELETE', path: '/leases/:lease' }],
  'replica.put': [
    { method: 'PUT', path: '/replicas/:id' },
    { method: 'POST', path: '/replicas' },
  ],
  'replica.state': [{ method: 'PUT', path: '/replicas/:id/state' }],
  'replica.remove': [{ method: 'DELETE', path: '/replicas/:id' }],
  'suspect.report': [{ method: 'POST', path: '/suspects' }],
  'flows.register': [{ method: 'POST', path: '/flows/register' }],
  'flows.touch': [{ method: 'POST', path: '/flows/touch' }],
  'flows.remove': [{ method: 'POST', path: '/flows/remove' }],
  'flow.pin': [{ method: 'PUT', path: '/flows/:id/pin' }],
  'flow.trace': [{ method: 'POST', path: '/flows/:id/trace' }],
  'flow.traced': [{ method: 'POST', path: '/flows/:id/traced' }],
} as const satisfies Record<string, readonly Route[]>;

export type RequestName = keyof typeof ROUTES;

/** A WebSocket. */
export const WATCH = '/watch';
/** A WebSocket of a browser cannot send a header: its token goes as this subprotocol followed by the token. */
export const PROTOCOL = 'tunconnector.v1';
export const TOKEN_PROTOCOL = 'tunconnector.token.';

/** Fields of a path that are numbers. */
const NUMBERS = ['spi', 'id'];
const FIELD = /:(\w+)/g;

export const fieldsOf = ({ path }: Route): string[] => [...path.matchAll(FIELD)].map(([, name]) => name!);

/** What is asked over HTTP for a request, or undefined when there is none of that name, or none for these fields. */
export function httpOf(
  tenant: number,
  name: string,
  body: object,
): { method: Route['method']; path: string; body?: string } | undefined {
  const routes: readonly Route[] = Object.hasOwn(ROUTES, name) ? ROUTES[name as RequestName] : [];
  const fields = body as Record<string, unknown>;
  const route = routes.find((each) => fieldsOf(each).every((field) => fields[field] !== undefined));
  if (!route) return undefined;
  const inPath = fieldsOf(route);
  const below = route.path.replace(FIELD, (_, field) => encodeURIComponent(String(fields[field])));
  const rest = Object.entries(fields).filter(([key, value]) => !inPath.includes(key) && value !== undefined);
  const path = `${tenantPath(tenant)}${below}`;
  if (route.method !== 'DELETE')
    return { method: route.method, path, body: JSON.stringify(Object.fromEntries(rest)) };
  const query = new URLSearchParams(rest.map(([key, value]) => [key, String(value)] as [string, string]));
  return { method: route.method, path: query.size > 0 ? `${path}?${query}` : path };
}

/** The body of a request as Roulette takes it: with the fields of the path, numbers as numbers. */
export function bodyOf(
  { method, path }: Route,
  parts: { params: Record<string, string>; query: Record<string, unknown>; body: unknown },
): Record<string, unknown> {
  const numbers = path.startsWith('/flows') ? [] : NUMBERS;
  const params = Object.entries(parts.params).map(([key, value]) => [
    key,
    numbers.includes(key) && /^\d{1,10}$/.test(value) ? Number(value) : value,
  ]);
  const rest = method === 'DELETE' ? parts.query : parts.body;
  return { ...(rest as object), ...Object.fromEntries(params) };
}
