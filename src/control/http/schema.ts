/** Schemas of zod as those of routes: requests are checked by them, and the OpenAPI document is made of them. */
import fastifySwagger from '@fastify/swagger';
import type { FastifyInstance, FastifySchema } from 'fastify';
import { z } from 'zod';
import { checkOptions } from '../../engine/options.ts';
import { TunconnectorError } from '../../errors.ts';

/** A JSON schema. @param io what is sent to the server is input, and may leave out what has a default */
export function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Record<string, unknown> {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return json;
}

const isZod = (schema: unknown): schema is z.ZodType => schema instanceof z.ZodType;

/** Bodies are configurations; what else is wrong with a request is how it was asked. */
function check(schema: z.ZodType, part: string | undefined, value: unknown) {
  try {
    return { value: checkOptions(schema, value) };
  } catch (error) {
    if (part === 'body' || !(error instanceof TunconnectorError)) return { error: error as Error };
    const { message, place } = error;
    return { error: new TunconnectorError('ERR_USAGE', message, { place }) };
  }
}

export interface ApiDescription {
  title: string;
  description: string;
  version: string;
}

/** To be called before the routes are. The document is `server.swagger()`. */
export async function useSchemas(
  server: FastifyInstance,
  { title, description, version }: ApiDescription,
): Promise<void> {
  server.setValidatorCompiler<z.ZodType>(
    ({ schema, httpPart }) =>
      (value) =>
        check(schema, httpPart, value),
  );
  server.setSerializerCompiler(() => JSON.stringify);
  await server.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title, description, version },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    },
    transform: ({ schema, url }) => ({ schema: schema ? described(schema) : schema, url }),
  });
}

function described(schema: FastifySchema): FastifySchema {
  const { body, querystring, params, response, ...rest } = schema;
  const input = Object.entries({ body, querystring, params }).flatMap(([key, value]) =>
    isZod(value) ? [[key, jsonSchema(value, 'input')]] : [],
  );
  const answers = Object.entries(response ?? {}).map(([status, value]) => [
    status,
    isZod(value) ? jsonSchema(value, 'output') : value,
  ]);
  return {
    ...rest,
    ...Object.fromEntries(input),
    ...(answers.length === 0 ? {} : { response: Object.fromEntries(answers) }),
  };
}
