// The two pieces of native work of a superframe tunnel, alone: cutting a TCP superframe into packets with full checksums, and
// the checksum of 1500 bytes.
//
// Good because payloads are copied and summed in one pass of AVX2. The arenas stay in the cache, as they do in the tunnel. Each
// repeat takes the mean of a run of operations; the least and the median repeat are printed.
//
// Packets are cut into slots of 2 KiB, as what an engine gives to its apps ("segment"), and back to back, as what goes into one
// send ("packed").
#include "segment.h"

enum { OPERATIONS = 64, REPEATS_MAX = 100001, SLOT = 2048, HEADROOM = 128 };

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_times(const char *name, double *ns, int repeats) {
  qsort(ns, (size_t)repeats, sizeof *ns, by_value);
  printf("\"%s\":{\"ns_min\":%.2f,\"ns_median\":%.2f", name, ns[0], ns[repeats / 2]);
}

static void make_superframe(uint8_t *ip, uint32_t size, uint32_t header) {
  for (uint32_t i = 0; i < size; i++) ip[i] = (uint8_t)(i * 2654435761u >> 13);
  memcpy(ip, (const uint8_t[]){0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, IPPROTO_TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, 20);
  put16(ip + 2, size);
  set_ipv4_checksum(ip);
  ip[32] = (uint8_t)((header - 20) / 4 << 4);
  ip[33] = ACK | PSH;
}

// Each packet `apart` bytes behind the one before, or right behind it.
static void time_segment(const char *name, const uint8_t *frame, uint32_t size, const struct vnet_header *vnet, uint8_t *out,
                             unsigned apart, double *ns, int repeats) {
  unsigned segments = 0;
  for (int r = -10; r < repeats; r++) {  // ten to warm up
    const uint64_t start = now_ns();
    for (int i = 0; i < OPERATIONS; i++) {
      struct segmenter s;
      uint8_t *at = out;
      if (!segment_open(&s, frame, size, vnet)) abort();
      segments = 0;
      for (uint32_t length; (length = segment_next(&s, at)); at += apart ? apart : length) segments++;
    }
    if (r >= 0) ns[r] = (double)(now_ns() - start) / OPERATIONS;
  }
  print_times(name, ns, repeats);
  printf(",\"segments\":%u,\"bytes\":%u},", segments, size);
}

int main(int argc, char **argv) {
  const char *text = "[--size BYTES] [--mss BYTES] [--header BYTES] [--repeats N]";
  int size = 61612, mss = 1368, header = 52, repeats = 301;
  for (int i = 1; i < argc; i += 2) {
    int *option = !strcmp(argv[i], "--size")      ? &size
                  : !strcmp(argv[i], "--mss")     ? &mss
                  : !strcmp(argv[i], "--header")  ? &header
                  : !strcmp(argv[i], "--repeats") ? &repeats
                                                  : NULL;
    if (!option || i + 1 == argc) usage(text);
    *option = atoi(argv[i + 1]);
  }
  if (header < 40 || header > 80 || header % 4 || size <= header || size > 65535 || mss < 1 || mss > 65535) usage(text);
  if (repeats < 1 || repeats > REPEATS_MAX) usage(text);
  const unsigned packets = (unsigned)((size - header + mss - 1) / mss);
  uint8_t *frame = must_allocate(65536), *out = must_allocate((size_t)size + (size_t)packets * (unsigned)header);
  uint8_t *slots = must_allocate((size_t)packets * SLOT);
  double *ns = must_allocate(REPEATS_MAX * sizeof *ns);
  const struct vnet_header vnet = {.flags = NEEDS_CSUM, .gso_type = GSO_TCPV4, .hdr_len = (uint16_t)header,
                                   .gso_size = (uint16_t)mss, .csum_start = 20, .csum_offset = TCP_CHECK};
  make_superframe(frame, (uint32_t)size, (uint32_t)header);
  printf("{");
  if (mss + header <= SLOT - HEADROOM) {
    time_segment("segment", frame, (uint32_t)size, &vnet, slots + HEADROOM, SLOT, ns, repeats);
  }
  time_segment("packed", frame, (uint32_t)size, &vnet, out, 0, ns, repeats);
  uint64_t sum = 0;
  for (int r = -10; r < repeats; r++) {
    const uint64_t start = now_ns();
    for (int i = 0; i < OPERATIONS * 16; i++) sum = fold(sum_bytes(frame, 1500, sum));  // each waits for the one before
    if (r >= 0) ns[r] = (double)(now_ns() - start) / (OPERATIONS * 16);
  }
  print_times("checksum", ns, repeats);
  printf(",\"bytes\":1500,\"sum\":%lu},\"avx2\":%s}\n", sum, has_avx2() ? "true" : "false");
}
