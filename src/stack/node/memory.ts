/**
 * Chunks of a stream are memory of their own, and a collection frees hundreds at once. glibc gives what is free at the end of its
 * heap back to the kernel from 128 KiB on, and the next chunks are fetched again, page by page: most of what a fast stream costs. It
 * keeps up to twice the size of the largest block that was freed so far, of 32 MiB at most. So one such block, never touched and so
 * never real memory, is made and let go. Other allocators are not changed by it.
 */

/** Bytes: less than 32 MiB with what glibc adds. */
const LARGE = 31 << 20;
let told = false;

/** Once for each process: later calls do nothing. */
export function keepFreedMemory(): void {
  if (told) return;
  told = true;
  // Garbage from here on.
  new ArrayBuffer(LARGE);
}
