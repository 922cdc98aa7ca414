/* Source -> Tee -> 2 Sinks in C, the way Snabb's and Rush's basic1 do it: what the TypeScript engine is held
 * against.
 *
 *   1. the source takes a packet off a LIFO free list and writes 60 bytes into it;
 *   2. the tee gives every output bytes of its own (`rush`: a copy for each, the original is freed; `snabb`: the
 *      last output gets the original);
 *   3. each sink counts packets and bytes and frees.
 *
 * A link is a ring of 1024 pointers that counts packets, bytes and drops, as the engine's reports do. A breath moves
 * one burst through everything. Rates are counted at the sinks: two per packet of the source.
 *
 * Slots stand 33 cache lines apart. At 2048 bytes all packets begin in two of the first-level cache's 64 sets, and the
 * program does a third of the work; at 10256, where malloc would put packets of 10 KiB, four fifths.
 *
 *   engine [seconds] [rush|snabb] [burst] [bytes from slot to slot]
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { SLOTS = 4096, RING = 1024, PAYLOAD = 60, SINKS = 2, MAX_BURST = 512 };

struct packet {
  uint16_t length;
  uint8_t data[];
};

static struct packet *free_list[SLOTS];
static size_t free_count;

static inline struct packet *packet_alloc(void) {
  if (__builtin_expect(free_count == 0, 0)) return NULL;
  return free_list[--free_count];
}

static inline void packet_free(struct packet *p) {
  p->length = 0;
  free_list[free_count++] = p;
}

struct link {
  struct packet *ring[RING];
  uint32_t head, tail;
  uint64_t packets, bytes, dropped;
};

static inline uint32_t link_count(const struct link *l) { return l->tail - l->head; }
static inline uint32_t link_room(const struct link *l) { return RING - link_count(l); }

static void link_put(struct link *l, struct packet *const *burst, uint32_t n) {
  uint32_t room = link_room(l), fits = n < room ? n : room, tail = l->tail;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < fits; i++) {
    bytes += burst[i]->length;
    l->ring[tail++ & (RING - 1)] = burst[i];
  }
  l->tail = tail;
  l->packets += fits;
  l->bytes += bytes;
  l->dropped += n - fits;
  for (uint32_t i = fits; i < n; i++) packet_free(burst[i]);
}

static uint32_t link_take(struct link *l, struct packet **burst, uint32_t max) {
  uint32_t count = link_count(l), n = count < max ? count : max, head = l->head;
  for (uint32_t i = 0; i < n; i++) burst[i] = l->ring[head++ & (RING - 1)];
  l->head = head;
  return n;
}

static struct link to_tee, to_sink[SINKS];
static uint8_t template[PAYLOAD];
static uint64_t made, sunk_packets[SINKS], sunk_bytes[SINKS];
static uint32_t burst_size = 256;

static void source_pull(void) {
  struct packet *burst[MAX_BURST];
  uint32_t room = link_room(&to_tee), n = 0, want = room < burst_size ? room : burst_size;
  while (n < want) {
    struct packet *p = packet_alloc();
    if (p == NULL) break;
    p->length = PAYLOAD;
    memcpy(p->data, template, PAYLOAD);
    burst[n++] = p;
  }
  made += n;
  link_put(&to_tee, burst, n);
}

static inline struct packet *packet_copy(const struct packet *from) {
  struct packet *to = packet_alloc();
  if (to == NULL) return NULL;
  to->length = from->length;
  memcpy(to->data, from->data, from->length);
  return to;
}

static void tee_push(int keep_original) {
  struct packet *burst[MAX_BURST], *copies[MAX_BURST];
  uint32_t n = link_take(&to_tee, burst, burst_size);
  int copied = keep_original ? SINKS - 1 : SINKS;
  for (int out = 0; out < copied; out++) {
    uint32_t c = 0;
    for (uint32_t i = 0; i < n; i++) {
      struct packet *copy = packet_copy(burst[i]);
      if (copy == NULL) break;
      copies[c++] = copy;
    }
    link_put(&to_sink[out], copies, c);
  }
  if (keep_original) link_put(&to_sink[SINKS - 1], burst, n);
  else for (uint32_t i = 0; i < n; i++) packet_free(burst[i]);
}

static void sink_push(int sink) {
  struct packet *burst[MAX_BURST];
  uint32_t n = link_take(&to_sink[sink], burst, burst_size);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < n; i++) {
    bytes += burst[i]->length;
    packet_free(burst[i]);
  }
  sunk_packets[sink] += n;
  sunk_bytes[sink] += bytes;
}

static double seconds_of(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 1;
  int snabb = argc > 2 && strcmp(argv[2], "snabb") == 0;
  if (argc > 3) burst_size = (uint32_t)atoi(argv[3]);
  if (burst_size < 1 || burst_size > MAX_BURST) {
    fprintf(stderr, "burst: 1 to %d\n", MAX_BURST);
    return 2;
  }
  size_t slot = argc > 4 ? (size_t)atoi(argv[4]) : 2112;
  if (slot < sizeof(struct packet) + PAYLOAD || slot > 65536 || slot % sizeof(uint16_t) != 0) {
    fprintf(stderr, "from slot to slot: an even number of bytes, 62 to 65536\n");
    return 2;
  }
  size_t size = SLOTS * slot;
  uint8_t *slab = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (slab == MAP_FAILED) {
    perror("mmap");
    return 1;
  }
  memset(slab, 0, size);
  for (int i = SLOTS - 1; i >= 0; i--) packet_free((struct packet *)(slab + (size_t)i * slot));
  for (int i = 0; i < PAYLOAD; i++) template[i] = (uint8_t)i;

  double warm = seconds_of(CLOCK_MONOTONIC) + 0.2, start = 0, end = 0, cpu = 0;
  uint64_t from = 0, from_made = 0, sunk = 0;
  for (int stage = 0; stage < 2; stage++) {
    start = seconds_of(CLOCK_MONOTONIC);
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    from = sunk_packets[0] + sunk_packets[1];
    from_made = made;
    double until = stage == 0 ? warm : start + seconds;
    do {
      for (int breath = 0; breath < 1000; breath++) {
        source_pull();
        tee_push(snabb);
        for (int s = 0; s < SINKS; s++) sink_push(s);
      }
      end = seconds_of(CLOCK_MONOTONIC);
    } while (end < until);
    sunk = sunk_packets[0] + sunk_packets[1];
  }
  cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  uint64_t lost = to_tee.dropped + to_sink[0].dropped + to_sink[1].dropped;
  uint64_t bytes = sunk_bytes[0] + sunk_bytes[1];
  if (lost != 0 || bytes != sunk * PAYLOAD || to_tee.packets != made) {
    fprintf(stderr, "the counters do not agree\n");
    return 1;
  }
  printf("{\"packetsPerSecond\": %.0f, \"sourcePacketsPerSecond\": %.0f, \"packetsPerCpuSecond\": %.0f}\n",
         (sunk - from) / (end - start), (made - from_made) / (end - start), (sunk - from) / cpu);
  return 0;
}
