/**
 * Where things are, relative to the address that is served. Plain text, for a browser too.
 *
 * `/` is the page. Its modules find each other by where they are in `dist/control`: `/page/...` and `/client/...`; charts are
 * `/uplot/uPlot.esm.js` and `/uplot/uPlot.min.css`, and what reads specs as text `/yaml/index.js`.
 */
export const API = '/api/v1';

/** Where a link is served on loopback when nothing else is said. */
export const DEFAULT_PORT = 7580;

export const paths = {
  spec: `${API}/spec`,
  rules: `${API}/rules`,
  /** One rule; `default` is what all packets pass that no rule is for. */
  rule: (label: string) => `${API}/rules/${encodeURIComponent(label)}`,
  flows: `${API}/flows`,
  stats: `${API}/stats`,
  presets: `${API}/presets`,
  kinds: `${API}/kinds`,
  /** A WebSocket. */
  stream: `${API}/stream`,
  openapi: '/openapi.json',
  metrics: '/metrics',
  health: '/healthz',
} as const;

/** A WebSocket of a browser cannot send a header: its token goes as this subprotocol followed by the token's. */
export const PROTOCOL = 'tunconnector.v1';
export const TOKEN_PROTOCOL = 'tunconnector.token.';
