// UDP load and its measure: sends datagrams of one size as fast as it goes or at a rate; counts what arrives, and in which order.
//
// Good because 64 datagrams cross into the kernel in a call each way, so that the generator takes as little as possible of the
// cores that it shares with what it measures. Rates are over the time from the first to the last arrival: starting and stopping is not
// measured. A datagram of 16 bytes or more carries its stream and its number in the stream; loss, reordering and duplicates follow from them.
#include "common.h"

#include <endian.h>
#include <sys/random.h>

enum { BATCH = 64, PAYLOAD_MAX = 65507, STRIDE = 65536 + 64, STREAMS = 256, WINDOW = 65536 };
static const char USAGE[] = "send ADDR PORT SIZE SECONDS [PPS] | sink ADDR PORT SECONDS";

struct stamp {
  uint64_t stream, number;  // the number big-endian
};

static void print_ready(const char *mode) {
  printf("{\"ready\":true,\"program\":\"udpgen\",\"mode\":\"%s\"}\n", mode);
  fflush(stdout);
}

static void sleep_ns(uint64_t ns) {
  const struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
  nanosleep(&t, NULL);
}

static int send_load(const struct endpoint *to, unsigned size, double seconds, double rate) {
  static struct mmsghdr messages[BATCH];
  static struct iovec parts[BATCH][2];
  static struct stamp stamps[BATCH];
  uint8_t *payload = must_allocate(PAYLOAD_MAX);
  const unsigned stamped = size >= sizeof(struct stamp) ? sizeof(struct stamp) : 0;
  uint64_t stream, number = 0, errors = 0;
  if (getrandom(&stream, sizeof stream, 0) != sizeof stream) DIE("getrandom");
  for (int i = 0; i < BATCH; i++) {
    stamps[i].stream = stream;
    parts[i][0] = (struct iovec){&stamps[i], stamped};
    parts[i][1] = (struct iovec){payload, size - stamped};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = parts[i], .msg_iovlen = 2};
  }
  const int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) DIE("socket");
  enlarge_buffers(fd, 8 << 20);
  if (connect(fd, &to->any, to->length) < 0) DIE("connect");
  print_ready("send");
  const uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9);
  uint64_t now = start, sent = 0;
  for (; now < end && !stopping; now = now_ns()) {
    unsigned due = BATCH;
    if (rate > 0) {
      const double behind = (double)(now - start) / 1e9 * rate + 1 - (double)sent;
      if (behind < 1) {
        const double until_next = (1 - behind) / rate * 1e9;
        sleep_ns((uint64_t)MIN(until_next, (double)(end - now)));
        continue;
      }
      due = (unsigned)MIN(behind, (double)BATCH);
    }
    for (unsigned i = 0; i < due; i++) stamps[i].number = htobe64(number + i);
    const int done = sendmmsg(fd, messages, due, 0);
    if (done > 0) number += (unsigned)done, sent += (unsigned)done;
    else if (errno == ENOBUFS || errno == ECONNREFUSED || errno == EINTR) errors++;
    else DIE("sendmmsg");
  }
  const double lasted = (double)(now - start) / 1e9;
  printf("{\"sent\":%lu,\"bytes\":%lu,\"errors\":%lu,\"seconds\":%.6f,\"pps\":%.1f,\"cpu_s\":%.3f}\n", sent, sent * size, errors,
         lasted, (double)sent / lasted, cpu_seconds());
  return 0;
}

// What has arrived of one stream: the highest number, and which of the last 65 536.
struct stream {
  uint64_t id, next, distinct, reordered, duplicates;
  uint64_t seen[WINDOW / 64];
};

static void count_number(struct stream *s, uint64_t number) {
  if (number >= s->next) {
    if (number - s->next >= WINDOW) memset(s->seen, 0, sizeof s->seen);
    else for (uint64_t n = s->next; n < number; n++) s->seen[n % WINDOW / 64] &= ~(1ull << n % 64);
    s->next = number + 1;
    s->distinct++;
  } else if (s->next - number > WINDOW) {  // too late to tell whether it came before
    s->reordered++;
    s->distinct++;
    return;
  } else if (s->seen[number % WINDOW / 64] >> number % 64 & 1) {
    s->duplicates++;
    return;
  } else {
    s->reordered++;
    s->distinct++;
  }
  s->seen[number % WINDOW / 64] |= 1ull << number % 64;
}

static struct stream *streams;
static unsigned stream_count;

static struct stream *stream_of(uint64_t id) {
  static struct stream *last;
  if (last && last->id == id) return last;
  for (unsigned i = 0; i < stream_count; i++)
    if (streams[i].id == id) return last = &streams[i];
  if (stream_count == STREAMS) return NULL;
  last = &streams[stream_count++];
  last->id = id;
  return last;
}

static int sink(const struct endpoint *at, double seconds) {
  static struct mmsghdr messages[BATCH];
  static struct iovec parts[BATCH];
  uint8_t *memory = must_allocate((size_t)BATCH * STRIDE);
  streams = must_allocate(STREAMS * sizeof *streams);
  for (int i = 0; i < BATCH; i++) {
    parts[i] = (struct iovec){memory + (size_t)i * STRIDE, STRIDE};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
  }
  const int fd = socket(at->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) DIE("socket");
  enlarge_buffers(fd, 8 << 20);
  if (bind(fd, &at->any, at->length) < 0) DIE("bind");
  print_ready("sink");
  const uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
  uint64_t packets = 0, bytes = 0, first = 0, last = 0, sequenced = 0;
  while (!stopping) {
    const int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
    const uint64_t now = now_ns();
    if (now >= end) break;
    if (count < 0) {
      if (errno != EAGAIN) DIE("recvmmsg");
      struct pollfd wait[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
      const struct timespec left = {(time_t)((end - now) / 1000000000u), (long)((end - now) % 1000000000u)};
      if (ppoll(wait, COUNT(wait), &left, NULL) < 0 && errno != EINTR) DIE("ppoll");
      continue;
    }
    if (!packets) first = now;
    last = now;
    packets += (unsigned)count;
    for (int i = 0; i < count; i++) {
      bytes += messages[i].msg_len;
      if (messages[i].msg_len < sizeof(struct stamp)) continue;
      struct stamp stamp;
      memcpy(&stamp, parts[i].iov_base, sizeof stamp);
      struct stream *s = stream_of(stamp.stream);
      if (!s) continue;
      sequenced++;
      count_number(s, be64toh(stamp.number));
    }
  }
  uint64_t lost = 0, reordered = 0, duplicates = 0;
  for (unsigned i = 0; i < stream_count; i++) {
    lost += streams[i].next - streams[i].distinct;
    reordered += streams[i].reordered;
    duplicates += streams[i].duplicates;
  }
  const double lasted = (double)(last - first) / 1e9, per_second = lasted > 0 ? 1 / lasted : 0;
  printf("{\"packets\":%lu,\"bytes\":%lu,\"seconds\":%.6f,\"pps\":%.1f,\"bits_per_second\":%.1f,\"sequenced\":%lu,\"lost\":%lu,"
         "\"reordered\":%lu,\"duplicates\":%lu,\"cpu_s\":%.3f}\n",
         packets, bytes, lasted, (double)packets * per_second, (double)bytes * 8 * per_second, sequenced, lost, reordered, duplicates,
         cpu_seconds());
  return 0;
}

int main(int argc, char **argv) {
  struct endpoint endpoint;
  if (argc < 5 || !parse_endpoint(argv[2], argv[3], &endpoint)) usage(USAGE);
  stop_on_signals();
  if (argc == 5 && !strcmp(argv[1], "sink")) return sink(&endpoint, atof(argv[4]));
  const int size = atoi(argv[4]);
  if (argc > 7 || argc < 6 || strcmp(argv[1], "send") || size < 1 || size > PAYLOAD_MAX) usage(USAGE);
  return send_load(&endpoint, (unsigned)size, atof(argv[5]), argc == 7 ? atof(argv[6]) : 0);
}
