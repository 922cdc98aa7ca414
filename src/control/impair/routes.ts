/** The routes of an impaired link: what is asked over HTTP, and which call of the link answers it. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { readYaml } from '../../engine/config-text.ts';
import { TunconnectorError } from '../../errors.ts';
import type { RulePatch } from '../../impair/spec/edit.ts';
import { paths } from '../client/paths.ts';
import * as contract from './contract.ts';
import { kinds, presets } from './kinds.ts';
import type { ImpairedLink } from './link.ts';
import type { Metrics } from './metrics.ts';
import { type Streams, streamRequest } from './stream.ts';

const YAML = ['application/yaml', 'application/x-yaml', 'text/yaml'];
const error = contract.errorDocument;
const params = z.object({ label: z.string() });

export interface Served {
  link: ImpairedLink;
  streams: Streams;
  metrics: Metrics;
}

export function addRoutes(server: FastifyInstance, { link, streams, metrics }: Served): void {
  server.addContentTypeParser(YAML, { parseAs: 'string' }, async (_request: unknown, body: string) =>
    readYaml(body, 'spec', (value) => value),
  );

  server.get(
    paths.spec,
    {
      schema: {
        operationId: 'getSpec',
        summary: 'The spec, as its author wrote it',
        response: { 200: contract.specDocument },
      },
    },
    async (_request, reply) => tagged(reply, link.document()),
  );

  server.put(
    paths.spec,
    {
      schema: {
        operationId: 'putSpec',
        summary: 'Puts another spec in place of all that there is, in one commit or not at all',
        consumes: ['application/json', ...YAML],
        body: z
          .union([contract.spec, z.string()])
          .describe('The spec, or the stages of both directions as text'),
        response: { 200: contract.specDocument, 400: error, 412: error },
      },
      // What is wrong with a spec is said by those who know specs.
      validatorCompiler: () => () => true,
    },
    async (request, reply) => {
      await link.replace(request.body, ifMatch(request));
      return tagged(reply, link.document());
    },
  );

  server.get(
    paths.rules,
    {
      schema: {
        operationId: 'getRules',
        summary: 'The rules with text and presets taken apart into stages',
        response: { 200: contract.ruleList },
      },
    },
    async (_request, reply) => tagged(reply, link.rules()),
  );

  server.patch<{ Params: { label: string }; Body: RulePatch }>(
    `${paths.rules}/:label`,
    {
      schema: {
        operationId: 'patchRule',
        summary: 'Changes or makes one rule; "default" is what all packets pass that no rule is for',
        params,
        body: contract.rulePatch,
        response: { 200: contract.ruleDocument, 400: error, 412: error },
      },
    },
    async (request, reply) => {
      const { label } = request.params;
      return tagged(reply, await link.patchRule(label, request.body, ifMatch(request)));
    },
  );

  server.delete<{ Params: { label: string } }>(
    `${paths.rules}/:label`,
    {
      schema: {
        operationId: 'deleteRule',
        summary: 'Ends a rule; what it holds still leaves in its time',
        params,
        response: { 200: contract.changed, 404: error, 412: error },
      },
    },
    async (request, reply) => {
      await link.removeRule(request.params.label, ifMatch(request));
      return tagged(reply, { revision: link.revision });
    },
  );

  server.get<{ Querystring: z.output<typeof contract.flowQuery> }>(
    paths.flows,
    {
      schema: {
        operationId: 'getFlows',
        summary: 'Flows, those with the most first',
        querystring: contract.flowQuery,
        response: { 200: contract.flowList, 400: error },
      },
    },
    async ({ query }) => (await link.flows()).select(query),
  );

  server.get<{ Querystring: z.output<typeof contract.statsQuery> }>(
    paths.stats,
    {
      schema: {
        operationId: 'getStats',
        summary: 'What each rule and stage did',
        querystring: contract.statsQuery,
        response: { 200: contract.stats, 400: error },
      },
    },
    async ({ query }) => link.stats(query.rules),
  );

  server.get(
    paths.presets,
    {
      schema: {
        operationId: 'getPresets',
        summary: 'Links by name, with the source of their numbers',
        response: { 200: contract.presetList },
      },
    },
    async () => presets,
  );

  server.get(
    paths.kinds,
    {
      schema: {
        operationId: 'getKinds',
        summary: 'Kinds of stages, with the JSON schema of their keys',
        response: { 200: contract.kindList },
      },
    },
    async () => kinds,
  );

  server.route<{ Querystring: z.output<typeof contract.streamQuery> }>({
    method: 'GET',
    url: paths.stream,
    schema: {
      operationId: 'stream',
      summary: 'Stats, flows and drops as they come: a WebSocket with one JSON text a message',
      querystring: contract.streamQuery,
      response: { 101: contract.streamMessage, 400: error, 426: error, 503: error },
    },
    preHandler: async ({ query }) => {
      streams.admit();
      streamRequest(query);
    },
    handler: async (_request, reply) => {
      const message = 'this is a WebSocket; ask with "Upgrade: websocket"';
      await reply
        .code(426)
        .header('upgrade', 'websocket')
        .send({ error: { code: 'ERR_USAGE', message } } satisfies contract.ErrorDocument);
    },
    wsHandler: (socket, request) => {
      streams.add(socket, streamRequest(request.query as z.output<typeof contract.streamQuery>));
    },
  });

  server.get(
    paths.metrics,
    { schema: { operationId: 'getMetrics', summary: 'For Prometheus', produces: ['text/plain'] } },
    async (_request, reply) => {
      const text = await metrics.text();
      await reply.type(metrics.contentType).send(text);
    },
  );

  server.get(
    paths.health,
    {
      schema: {
        operationId: 'getHealth',
        summary: 'Whether packets flow; needs no token',
        response: { 200: z.object({ status: z.literal('ok') }), 503: error },
      },
    },
    async () => {
      await link.stats(0);
      return { status: 'ok' as const };
    },
  );

  server.get(paths.openapi, { schema: { hide: true } }, async () => server.swagger());
}

/** The revision a change is meant to follow. @throws ERR_USAGE */
function ifMatch({ headers }: FastifyRequest): number | undefined {
  const text = headers['if-match'];
  if (text === undefined || text === '*') return undefined;
  const revision = /^(?:W\/)?"?(\d{1,15})"?$/.exec(text)?.[1];
  if (revision !== undefined) return Number(revision);
  throw new TunconnectorError('ERR_USAGE', `if-match: found ${JSON.stringify(text)}, expected a revision`);
}

function tagged<Body extends { revision: number }>(reply: FastifyReply, body: Body): Body {
  reply.header('etag', `"${body.revision}"`);
  return body;
}
