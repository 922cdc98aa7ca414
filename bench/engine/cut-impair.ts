/**
 * The other way to be exact per wire packet: everything is cut on entry, natively, and the port merges again what it
 * writes. An impairment that takes no superframes, and is otherwise the same.
 */
import { type App, defineApp } from 'tunconnector';
import { type CompiledSpec, impair } from 'tunconnector/impair';

export const cutImpair = defineApp({
  module: import.meta.url,
  export: 'cutImpair',
  check: (options: CompiledSpec['up']) => options,
  create: (options): App => Object.assign(impair.create(options), { superframes: false }),
});
