#include "netns.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>

namespace {

struct Errand {
  const char* path;
  int (*work)(void*, Failure*);
  void* argument;
  Failure* failure;
  int result;
};

void* run(void* data) {
  Errand* errand = static_cast<Errand*>(data);
  int fd = open(errand->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    errand->result = errand->failure->set(errno, "open", errand->path);
    return nullptr;
  }
  // Moves this thread alone; it ends with the errand.
  int moved = setns(fd, CLONE_NEWNET);
  int error = errno;
  close(fd);
  errand->result = moved == 0 ? errand->work(errand->argument, errand->failure)
                              : errand->failure->set(error, "setns", errand->path);
  return nullptr;
}

}  // namespace

int inNamespace(const char* path, int (*work)(void*, Failure*), void* argument, Failure* failure) {
  if (path[0] == '\0') return work(argument, failure);
  Errand errand{path, work, argument, failure, -1};
  pthread_t thread;
  int error = pthread_create(&thread, nullptr, run, &errand);
  if (error != 0) return failure->set(error, "pthread_create", path);
  pthread_join(thread, nullptr);
  return errand.result;
}
