// Work inside another network namespace.
#pragma once

#include "failure.h"

// Runs `work(argument, failure)` in the namespace at `path`, on a thread that lives only for that, so that Node's own
// threads never move. An empty path means here and now. Returns what `work` returned, or -1 with `failure` set.
int inNamespace(const char* path, int (*work)(void* argument, Failure* failure), void* argument, Failure* failure);

constexpr size_t kNamespacePath = 256;
