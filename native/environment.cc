#include "environment.h"

#include <unistd.h>

#include <mutex>
#include <unordered_map>

namespace {

struct Descriptors {
  std::mutex mutex;
  std::unordered_map<int, Environment*> owners;
};

// Never destroyed: workers may still run while the process' static objects go.
Descriptors& descriptors() {
  static Descriptors* all = new Descriptors;
  return *all;
}

}  // namespace

void descriptorOpened(Environment* owner, int fd) {
  Descriptors& all = descriptors();
  std::lock_guard<std::mutex> lock(all.mutex);
  all.owners[fd] = owner;
}

bool descriptorClose(int fd) {
  Descriptors& all = descriptors();
  std::lock_guard<std::mutex> lock(all.mutex);
  if (all.owners.erase(fd) == 0) return false;
  close(fd);  // Linux frees the number whatever close returns
  return true;
}

void descriptorsCloseAll(Environment* owner) {
  Descriptors& all = descriptors();
  std::lock_guard<std::mutex> lock(all.mutex);
  for (auto entry = all.owners.begin(); entry != all.owners.end();) {
    if (entry->second == owner) {
      close(entry->first);
      entry = all.owners.erase(entry);
    } else {
      ++entry;
    }
  }
}

napi_value defineFunction(napi_env env, napi_value exports, Environment* self, const char* name,
                          napi_callback callback) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, self, &function) != napi_ok) return nullptr;
  napi_set_named_property(env, exports, name, function);
  return function;
}
