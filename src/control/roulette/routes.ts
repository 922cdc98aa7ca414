/** Roulette's routes: each request of the core at its address, and what there is to read. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { TenantView } from '../../chain/roulette/model/view.ts';
import {
  bodyOf,
  fieldsOf,
  type RequestName,
  ROUTES,
  type Route,
  TENANTS,
  WATCH,
} from '../../chain/roulette/remote/api.ts';
import { REQUESTS } from '../../chain/roulette/requests/index.ts';
import { LEASE_REQUESTS } from '../../chain/roulette/requests/leases.ts';
import type { Roulette } from '../../chain/roulette/roulette.ts';
import { TunconnectorError } from '../../errors.ts';
import { paths } from '../client/paths.ts';
import * as contract from './contract.ts';
import * as documents from './documents.ts';
import type { Metrics } from './metrics.ts';
import { SUMMARIES } from './summaries.ts';
import type { Watchers } from './watchers.ts';

const error = contract.errorDocument;
const errors = { 400: error, 403: error, 404: error, 412: error, 503: error, 507: error };

/** Requests of one tenant that may wait for an answer. */
const WAITING = 1024;

export interface Served {
  roulette: Roulette;
  watchers: Watchers;
  metrics: Metrics;
}

type Parts = { Params: Record<string, string>; Querystring: Record<string, unknown> };

export function addRoutes(server: FastifyInstance, served: Served): void {
  for (const [name, routes] of Object.entries(ROUTES))
    for (const route of routes) addRequest(server, served, name as RequestName, route, routes.length > 1);
  addReading(server, served);
  addWatch(server, served);
  addOthers(server, served);
}

// ── Requests

function addRequest(
  server: FastifyInstance,
  { roulette, metrics }: Served,
  name: RequestName,
  route: Route,
  isOneOfSeveral: boolean,
): void {
  const waiting = new Map<number, number>();
  const inPath = fieldsOf(route);
  const schema = (Object.hasOwn(LEASE_REQUESTS, name)
    ? LEASE_REQUESTS[name as keyof typeof LEASE_REQUESTS]
    : REQUESTS[name as keyof typeof REQUESTS].schema) as unknown as z.ZodObject;
  const fields = z.strictObject(
    Object.fromEntries(Object.entries(schema.shape).filter(([field]) => !inPath.includes(field))),
  );
  server.route<Parts>({
    method: route.method,
    url: `${TENANTS}/:tenant${route.path}`,
    schema: {
      operationId: isOneOfSeveral ? `${name}.${route.method.toLowerCase()}` : name,
      summary: SUMMARIES[name],
      params: z.object(Object.fromEntries(['tenant', ...inPath].map((field) => [field, z.string()]))),
      ...(route.method === 'DELETE' ? { querystring: fields } : { body: fields }),
      response: { 200: z.record(z.string(), z.unknown()), ...errors },
    },
    // The core says what is wrong.
    validatorCompiler: () => () => true,
    handler: async (request) => {
      const tenant = tenantOf(request);
      const body = bodyOf(route, {
        params: Object.fromEntries(inPath.map((field) => [field, request.params[field]])),
        query: numbered(request.query),
        body: checkBody(request.body, request.params, inPath),
      });
      const count = waiting.get(tenant) ?? 0;
      if (count >= WAITING)
        throw new TunconnectorError('ERR_BUSY', `${WAITING} of tenant ${tenant} wait already`, {
          remedy: 'ask again later',
        });
      waiting.set(tenant, count + 1);
      try {
        const answer = await new Promise<unknown>((resolve, reject) =>
          roulette.request(tenant, name, body, (error, answer) => (error ? reject(error) : resolve(answer))),
        );
        metrics.answered(name, 'ok');
        return answer ?? {};
      } catch (error) {
        metrics.answered(name, error instanceof TunconnectorError ? error.code : 'ERR_INTERNAL');
        throw error;
      } finally {
        const left = waiting.get(tenant)! - 1;
        if (left === 0) waiting.delete(tenant);
        else waiting.set(tenant, left);
      }
    },
  });
}

/** The tenant that is asked about. @throws ERR_NOT_FOUND, ERR_FORBIDDEN: whether it is there is told to its own alone */
function tenantOf({ params, grant }: FastifyRequest): number {
  const { tenant: text } = params as { tenant: string };
  const tenant = Number(text);
  if (!/^(0|[1-9]\d{0,7})$/.test(text) || tenant > 0xffffff) {
    const found = JSON.stringify(text);
    throw new TunconnectorError('ERR_USAGE', `tenant: found ${found}, expected a number from 0 to 16777215`);
  }
  if (grant === 'all' || grant.has(tenant)) return tenant;
  throw new TunconnectorError('ERR_FORBIDDEN', `this token is not for tenant ${tenant}`);
}

/** @throws ERR_CONFIG for what is no object, or says something else than the path */
function checkBody(body: unknown, params: Record<string, string>, inPath: readonly string[]): object {
  if (body === undefined || body === null) return {};
  if (typeof body !== 'object' || Array.isArray(body))
    throw new TunconnectorError('ERR_CONFIG', 'the body: expected an object');
  for (const [key, value] of Object.entries(body)) {
    if (!inPath.includes(key) || String(value) === params[key]) continue;
    const found = JSON.stringify(value);
    const expected = `${params[key]}, as in the path`;
    throw new TunconnectorError('ERR_CONFIG', `${key}: found ${found}, expected ${expected}`, {
      place: { path: key, found, expected },
    });
  }
  return body;
}

/** Of a query, where all is text. */
const numbered = (query: Record<string, unknown>) =>
  Object.fromEntries(
    Object.entries(query).map(([key, value]) => [
      key,
      /^\d{1,15}$/.test(String(value)) ? Number(value) : value,
    ]),
  );

// ── Reading

function addReading(server: FastifyInstance, { roulette }: Served): void {
  const ready = () => {
    if (roulette.isReady) return;
    throw new TunconnectorError('ERR_BUSY', 'the store has not been read yet', {
      remedy: 'ask again in a moment',
    });
  };
  server.get(
    TENANTS,
    {
      schema: {
        operationId: 'tenants',
        summary: 'The tenants that the token is for',
        response: { 200: contract.tenantList, 503: error },
      },
    },
    async ({ grant }) => {
      ready();
      const own = roulette.tenants().filter((id) => grant === 'all' || grant.has(id));
      return { rev: roulette.rev, tenants: own.map((id) => documents.tenantDocument(id, roulette.view(id))) };
    },
  );
  const read = <Query>(
    operationId: string,
    path: string,
    summary: string,
    answer: z.ZodType,
    make: (
      view: TenantView,
      parts: { params: Record<string, string>; query: Query; tenant: number },
    ) => object,
    query?: z.ZodType<Query>,
  ) => {
    server.get<Parts>(
      `${TENANTS}/:tenant${path}`,
      {
        schema: {
          operationId,
          summary,
          ...(query && { querystring: query }),
          response: { 200: answer, 400: error, 403: error, 404: error, 503: error },
        },
      },
      async (request) => {
        const tenant = tenantOf(request);
        ready();
        const view = roulette.view(tenant);
        if (!view.tenant) throw new TunconnectorError('ERR_NOT_FOUND', `there is no tenant ${tenant}`);
        return make(view, { params: request.params, query: request.query as Query, tenant });
      },
    );
  };
  read('tenant', '', 'What a tenant has', contract.tenantDocument, (view, { tenant }) =>
    documents.tenantDocument(tenant, view),
  );
  read('functions', '/functions', 'Functions, with ingress and egress', contract.functionList, (view) => ({
    rev: roulette.rev,
    functions: documents.functionDocuments(view),
  }));
  read('chains', '/chains', 'Chains by service path', contract.chainList, (view) => ({
    rev: roulette.rev,
    chains: documents.chainDocuments(view),
  }));
  read('chain', '/chains/:spi', 'One chain', contract.chainDocument, (view, { params }) =>
    documents.chainDocument(view, params.spi),
  );
  read('replicas', '/replicas', 'Replicas by id', contract.replicaList, (view) => ({
    rev: roulette.rev,
    replicas: documents.replicaDocuments(view),
  }));
  read('replica', '/replicas/:id', 'One replica', contract.replicaDocument, (view, { params }) =>
    documents.replicaDocument(view, params.id),
  );
  read(
    'rates',
    '/rates',
    'What passes through replicas and chains now',
    contract.rateList,
    (view, { tenant }) => documents.rateList(view, roulette.rates(tenant)),
  );
  read('classifier', '/classifier', 'Which packets go where', contract.classifierDocument, (view) =>
    documents.classifierDocument(view),
  );
  read<z.output<typeof contract.flowQuery>>(
    'flows',
    '/flows',
    'Flows by id, page by page',
    contract.flowList,
    (view, { query }) => ({ rev: roulette.rev, ...documents.flowPage(view, query) }),
    contract.flowQuery,
  );
  read('flow', '/flows/:id', 'One flow', contract.flowDocument, (view, { params }) =>
    documents.flowDocument(view, params.id),
  );
}

// ── The watch

function addWatch(server: FastifyInstance, { watchers }: Served): void {
  server.route<Parts>({
    method: 'GET',
    url: `${TENANTS}/:tenant${WATCH}`,
    schema: {
      operationId: 'watch',
      summary: 'Everything and then every change, as it happens: a WebSocket with one JSON text a message',
      response: { 400: error, 403: error, 426: error, 503: error },
    },
    preHandler: async (request) => {
      tenantOf(request);
      watchers.admit();
    },
    handler: async (_request, reply: FastifyReply) => {
      const message = 'this is a WebSocket; ask with "Upgrade: websocket"';
      await reply
        .code(426)
        .header('upgrade', 'websocket')
        .send({ error: { code: 'ERR_USAGE', message } });
    },
    wsHandler: (socket, request) => watchers.add(socket, tenantOf(request)),
  });
}

function addOthers(server: FastifyInstance, { roulette, metrics }: Served): void {
  server.get(
    paths.metrics,
    {
      schema: {
        operationId: 'metrics',
        summary: 'For Prometheus; with a token for all tenants',
        produces: ['text/plain'],
      },
    },
    async ({ grant }, reply) => {
      if (grant !== 'all')
        throw new TunconnectorError(
          'ERR_FORBIDDEN',
          'this token is not for all tenants, which metrics are of',
        );
      const text = await metrics.text();
      await reply.type(metrics.contentType).send(text);
    },
  );
  server.get(
    paths.health,
    {
      schema: {
        operationId: 'health',
        summary: 'Whether requests are answered; needs no token',
        response: { 200: z.object({ status: z.literal('ok') }), 503: error },
      },
    },
    async () => {
      if (!roulette.isReady) throw new TunconnectorError('ERR_BUSY', 'the store has not been read yet');
      return { status: 'ok' as const };
    },
  );
  server.get(paths.openapi, { schema: { hide: true } }, async () => server.swagger());
}
