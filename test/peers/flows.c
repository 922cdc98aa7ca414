// TCP flows whose two ends must agree on what went from one to the other: how many bytes, and their hash.
//
//   flows serve ADDRESS PORT
//   flows send ADDRESS PORT [-f FLOWS] [-b BYTES] [-s SEED] [-c] [-v]
//
// `send` opens all flows at once and writes BYTES pseudo-random bytes into each (-c: in choppy writes of 1 to 3000
// bytes, each a segment of its own as far as TCP allows), then closes its half. `serve` hashes what it gets and answers
// with the count and the hash. The last line of `send` is what came of it, and the exit code is 0 if all were equal:
//
//   flows 16 equal 16 bytes 16777216 seconds 0.412
//
// -v writes `sent N` to standard error every second.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LANES 4
#define BLOCK (LANES * 8)
#define BUFFER (256 * 1024)
// Every word passes through a bijection of its lane: one that differs makes another hash, wherever it stands.
#define MULTIPLIER 0x9e3779b97f4a7c15u

struct Hash {
  uint64_t lane[LANES];
  uint64_t bytes;
  uint8_t rest[BLOCK];
  size_t resting;
};

struct Flow {
  pthread_t thread;
  uint64_t seed;
  int equal;
};

// What the server says of a flow; both ends are of one machine, and so is the byte order.
struct Verdict {
  uint64_t bytes;
  uint64_t hash;
};

static const char *address, *port;
static uint64_t bytesPerFlow = 1 << 20;
static int choppy;
static _Atomic uint64_t sent;

static void die(const char *what) {
  fprintf(stderr, "flows: %s: %s\n", what, strerror(errno));
  exit(2);
}

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static uint64_t nextRandom(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static void hashBlocks(struct Hash *hash, const uint8_t *at, size_t blocks) {
  uint64_t a = hash->lane[0], b = hash->lane[1], c = hash->lane[2], d = hash->lane[3];
  for (; blocks > 0; blocks--, at += BLOCK) {
    uint64_t word[LANES];
    memcpy(word, at, BLOCK);
    a = rotate(a ^ word[0], 31) * MULTIPLIER;
    b = rotate(b ^ word[1], 29) * MULTIPLIER;
    c = rotate(c ^ word[2], 27) * MULTIPLIER;
    d = rotate(d ^ word[3], 23) * MULTIPLIER;
  }
  hash->lane[0] = a, hash->lane[1] = b, hash->lane[2] = c, hash->lane[3] = d;
}

static void hashInit(struct Hash *hash) {
  memset(hash, 0, sizeof *hash);
  for (int i = 0; i < LANES; i++) hash->lane[i] = MULTIPLIER * (uint64_t)(i + 1);
}

static void hashUpdate(struct Hash *hash, const uint8_t *at, size_t length) {
  hash->bytes += length;
  if (hash->resting > 0) {
    size_t take = BLOCK - hash->resting < length ? BLOCK - hash->resting : length;
    memcpy(hash->rest + hash->resting, at, take);
    hash->resting += take;
    at += take;
    length -= take;
    if (hash->resting < BLOCK) return;
    hashBlocks(hash, hash->rest, 1);
    hash->resting = 0;
  }
  hashBlocks(hash, at, length / BLOCK);
  hash->resting = length % BLOCK;
  memcpy(hash->rest, at + length - hash->resting, hash->resting);
}

static uint64_t hashEnd(struct Hash *hash) {
  memset(hash->rest + hash->resting, 0, BLOCK - hash->resting);
  hashBlocks(hash, hash->rest, 1);
  uint64_t all = hash->bytes;
  for (int i = 0; i < LANES; i++) all = rotate(all ^ hash->lane[i], 31) * MULTIPLIER;
  return all;
}

static struct addrinfo *resolve(void) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
  struct addrinfo *found;
  int error = getaddrinfo(address, port, &hints, &found);
  if (error != 0) {
    fprintf(stderr, "flows: %s port %s: %s\n", address, port, gai_strerror(error));
    exit(2);
  }
  return found;
}

static int writeAll(int fd, const void *from, size_t length) {
  const uint8_t *at = from;
  while (length > 0) {
    ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    at += n;
    length -= (size_t)n;
  }
  return 0;
}

static void *serveOne(void *argument) {
  int fd = (int)(intptr_t)argument;
  uint8_t *buffer = malloc(BUFFER);
  struct Hash hash;
  hashInit(&hash);
  ssize_t n;
  while ((n = recv(fd, buffer, BUFFER, 0)) > 0 || (n < 0 && errno == EINTR)) {
    if (n > 0) hashUpdate(&hash, buffer, (size_t)n);
  }
  if (n == 0) {
    struct Verdict verdict = {hash.bytes, hashEnd(&hash)};
    writeAll(fd, &verdict, sizeof verdict);
  }
  close(fd);
  free(buffer);
  return NULL;
}

static _Noreturn void serve(void) {
  struct addrinfo *where = resolve();
  int listener = socket(where->ai_family, SOCK_STREAM, 0);
  if (listener < 0) die("socket");
  int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, where->ai_addr, where->ai_addrlen) < 0) die("bind");
  if (listen(listener, 1024) < 0) die("listen");
  puts("listening");
  fflush(stdout);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0) die("accept");
    pthread_t thread;
    if (pthread_create(&thread, NULL, serveOne, (void *)(intptr_t)fd) != 0) die("pthread_create");
    pthread_detach(thread);
  }
}

static void *sendOne(void *argument) {
  struct Flow *flow = argument;
  struct addrinfo *where = resolve();
  int fd = socket(where->ai_family, SOCK_STREAM, 0);
  if (fd < 0) die("socket");
  if (choppy) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &choppy, sizeof choppy);
  if (connect(fd, where->ai_addr, where->ai_addrlen) < 0) die("connect");
  freeaddrinfo(where);

  uint64_t *buffer = malloc(BUFFER);
  uint64_t state = flow->seed;
  uint64_t sizes = ~flow->seed;
  struct Hash hash;
  hashInit(&hash);
  for (uint64_t left = bytesPerFlow; left > 0;) {
    size_t chunk = left < BUFFER ? (size_t)left : BUFFER;
    for (size_t i = 0; i < (chunk + 7) / 8; i++) buffer[i] = nextRandom(&state);
    hashUpdate(&hash, (uint8_t *)buffer, chunk);
    for (size_t at = 0; at < chunk;) {
      size_t piece = choppy ? nextRandom(&sizes) % 3000 + 1 : chunk;
      // Every fourth is a single byte.
      if (choppy && nextRandom(&sizes) % 4 == 0) piece = 1;
      if (piece > chunk - at) piece = chunk - at;
      if (writeAll(fd, (uint8_t *)buffer + at, piece) < 0) die("send");
      at += piece;
    }
    left -= chunk;
    sent += chunk;
  }
  shutdown(fd, SHUT_WR);
  struct Verdict verdict;
  size_t got = 0;
  while (got < sizeof verdict) {
    ssize_t n = recv(fd, (uint8_t *)&verdict + got, sizeof verdict - got, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) die("recv");
    if (n == 0) break;
    got += (size_t)n;
  }
  flow->equal = got == sizeof verdict && verdict.bytes == hash.bytes && verdict.hash == hashEnd(&hash);
  if (!flow->equal) fprintf(stderr, "flows: flow %llu arrived changed\n", (unsigned long long)flow->seed);
  close(fd);
  free(buffer);
  return NULL;
}

static void *tell(void *unused) {
  for (;;) {
    sleep(1);
    fprintf(stderr, "sent %llu\n", (unsigned long long)sent);
  }
  return unused;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  int flows = 1;
  int verbose = 0;
  uint64_t seed = 1;
  int option;
  while ((option = getopt(argc, argv, "f:b:s:cv")) != -1) {
    if (option == 'f') flows = atoi(optarg);
    else if (option == 'b') bytesPerFlow = strtoull(optarg, NULL, 10);
    else if (option == 's') seed = strtoull(optarg, NULL, 10);
    else if (option == 'c') choppy = 1;
    else if (option == 'v') verbose = 1;
    else return 2;
  }
  int serving = optind + 3 == argc && strcmp(argv[optind], "serve") == 0;
  if (!serving && (optind + 3 != argc || strcmp(argv[optind], "send") != 0 || flows < 1)) {
    fputs("usage: flows serve ADDRESS PORT | flows send ADDRESS PORT [-f FLOWS] [-b BYTES] [-s SEED] [-c] [-v]\n", stderr);
    return 2;
  }
  address = argv[optind + 1];
  port = argv[optind + 2];
  if (serving) serve();

  struct Flow *all = calloc((size_t)flows, sizeof *all);
  pthread_t teller;
  if (verbose && pthread_create(&teller, NULL, tell, NULL) != 0) die("pthread_create");
  double start = now();
  for (int i = 0; i < flows; i++) {
    all[i].seed = seed + (uint64_t)i;
    if (pthread_create(&all[i].thread, NULL, sendOne, all + i) != 0) die("pthread_create");
  }
  int equal = 0;
  for (int i = 0; i < flows; i++) {
    pthread_join(all[i].thread, NULL);
    equal += all[i].equal;
  }
  printf("flows %d equal %d bytes %llu seconds %.3f\n", flows, equal, (unsigned long long)sent, now() - start);
  return equal == flows ? 0 : 1;
}
