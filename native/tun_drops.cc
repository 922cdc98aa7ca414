#include "tun_drops.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "netns.h"

#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

namespace {

// netlink would tell the same behind the lock that every change of any interface holds; this needs none.
int openHere(void*, Failure* failure) {
  int fd = open("/proc/thread-self/net/dev", O_RDONLY | O_CLOEXEC);
  return fd >= 0 ? fd : failure->set(errno, "open", "/proc/thread-self/net/dev");
}

bool isOwnNamespace(int fd) {
  // fstat and stat are symbols of glibc 2.33, and what is built ahead has to load with 2.28.
  struct statx given;
  struct statx own;
  return statx(fd, "", AT_EMPTY_PATH, STATX_INO, &given) == 0 &&
         statx(AT_FDCWD, "/proc/thread-self/ns/net", 0, STATX_INO, &own) == 0 && given.stx_ino == own.stx_ino &&
         given.stx_dev_major == own.stx_dev_major && given.stx_dev_minor == own.stx_dev_minor;
}

// Of a line "NAME: 8 figures of reception, bytes, packets, errors, drops ...".
double dropsOf(const char* line) {
  for (int skipped = 0; skipped < 11; skipped++) {
    while (*line == ' ') line++;
    while (*line >= '0' && *line <= '9') line++;
  }
  return strtod(line, nullptr);
}

}  // namespace

int openDeviceStatistics(int tun) {
  // Linux 5.4 brought this; a device of an older kernel may be in any namespace.
  int fd = ioctl(tun, TUNGETDEVNETNS);
  if (fd < 0) return -1;
  char path[32] = "";
  if (!isOwnNamespace(fd)) snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  Failure failure;
  int found = inNamespace(path, openHere, nullptr, &failure);
  close(fd);
  return found;
}

double deviceDrops(int statistics, int tun) {
  ifreq device{};
  if (statistics < 0 || ioctl(tun, TUNGETIFF, &device) < 0) return -1;
  device.ifr_name[IFNAMSIZ - 1] = '\0';
  size_t nameLength = strlen(device.ifr_name);
  // Whole lines of at most 256 bytes; hosts with thousands of interfaces have more than is read here.
  constexpr size_t most = 1 << 20;
  char text[4096 + 1];
  size_t kept = 0;
  for (off_t at = 0; at < static_cast<off_t>(most);) {
    ssize_t got = pread(statistics, text + kept, sizeof text - 1 - kept, at);
    if (got <= 0) return -1;
    at += got;
    text[kept + static_cast<size_t>(got)] = '\0';
    char* line = text;
    for (char* end; (end = strchr(line, '\n')) != nullptr; line = end + 1) {
      *end = '\0';
      while (*line == ' ') line++;
      if (strncmp(line, device.ifr_name, nameLength) == 0 && line[nameLength] == ':') {
        return dropsOf(line + nameLength + 1);
      }
    }
    kept = strlen(line);
    if (kept >= sizeof text / 2) return -1;
    memmove(text, line, kept);
  }
  return -1;
}
