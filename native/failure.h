// What went wrong in a set-up call. The data path has no failures: it returns counts or -errno.
#pragma once

#include <cstddef>

struct Failure {
  int error = 0;
  // Literals such as "ioctl(TUNSETIFF)".
  const char* call = "";
  // What it was done to: a name, a path, an address. May be empty.
  char subject[160] = "";

  // Records the failure and returns -1, so that `return failure.set(...)` reads as one step.
  int set(int errorNumber, const char* systemCall, const char* onWhat = "");
};
