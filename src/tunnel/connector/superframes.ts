/** How large the kernel's superframes may be so that each leaves in one send. */

/** What one send with UDP_SEGMENT carries: 64 segments before Linux 6.9, and the payload of one IPv4 datagram. */
const MAX_SEGMENTS = 64;
const MAX_SEND = 65_507;
/** IPv4 header, TCP header, timestamps (RFC 7323), which Linux has on unless told otherwise. */
const TCP_HEADERS = 52;
/** What Linux takes off the limit before it divides by the segment size: MAX_TCP_HEADER + 1 on 64-bit machines. */
const KERNEL_HEADROOM = 321;

/**
 * The `gso_max_size` with which full TCP segments of an interface just fit into one send: at an MTU of 1420 without
 * framing 46 of 1368 bytes. With the default of 65536 they are 47, a second send for the last of them.
 *
 * @param framing bytes of each datagram in front of what the MTU counts
 */
export function superframeLimit(mtu: number, framing: number): number {
  const segments = Math.min(MAX_SEGMENTS, Math.floor(MAX_SEND / (mtu + framing)));
  return Math.min(65_536, Math.max(1, segments) * (mtu - TCP_HEADERS) + KERNEL_HEADROOM);
}
