#include "netns.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>

namespace {

struct Errand {
  const char* path;
  int (*work)(void*, Failure*);
  void* argument;
  Failure* failure;
  int result;
};

void run(void* data) {
  Errand* errand = static_cast<Errand*>(data);
  // A path that is a FIFO must not be waited on.
  int fd = open(errand->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    errand->result = errand->failure->set(errno, "open", errand->path);
    return;
  }
  // Moves this thread alone; it ends with the errand.
  int moved = setns(fd, CLONE_NEWNET);
  int error = errno;
  close(fd);
  errand->result = moved == 0 ? errand->work(errand->argument, errand->failure)
                              : errand->failure->set(error, "setns", errand->path);
}

}  // namespace

int inNamespace(const char* path, int (*work)(void*, Failure*), void* argument, Failure* failure) {
  if (path[0] == '\0') return work(argument, failure);
  Errand errand{path, work, argument, failure, -1};
  // Node's threads rather than the C library's own: those bind the addon to glibc 2.34 where it is built on one.
  uv_thread_t thread;
  int error = uv_thread_create(&thread, run, &errand);
  if (error != 0) return failure->set(-error, "uv_thread_create", path);
  uv_thread_join(&thread);
  return errand.result;
}
