/**
 * Debug builds check what production trusts: that every packet is freed once, used only while it lives, and is in
 * one place. `TUNCONNECTOR_DEBUG=1` turns them on; this project's tests run that way.
 */
export const DEBUG: boolean = globalThis.process?.env?.TUNCONNECTOR_DEBUG === '1';
