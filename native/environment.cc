#include "environment.h"

#include <unistd.h>

#include <atomic>
#include <mutex>
#include <unordered_map>

namespace {

struct Descriptor {
  Environment* owner;
  uint64_t serial;
};

struct Descriptors {
  std::mutex mutex;
  std::unordered_map<int, Descriptor> open;
  uint64_t serials = 0;
  std::atomic<uint32_t> closings{0};
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
  all.open[fd] = {owner, ++all.serials};
}

uint64_t descriptorSerial(int fd) {
  Descriptors& all = descriptors();
  std::lock_guard<std::mutex> lock(all.mutex);
  auto found = all.open.find(fd);
  return found == all.open.end() ? 0 : found->second.serial;
}

uint32_t descriptorClosings() { return descriptors().closings.load(std::memory_order_acquire); }

bool descriptorClose(int fd) {
  Descriptors& all = descriptors();
  std::lock_guard<std::mutex> lock(all.mutex);
  if (all.open.erase(fd) == 0) return false;
  all.closings.fetch_add(1, std::memory_order_release);
  close(fd);  // Linux frees the number whatever close returns
  return true;
}

void descriptorsCloseAll(Environment* owner) {
  Descriptors& all = descriptors();
  std::lock_guard<std::mutex> lock(all.mutex);
  for (auto entry = all.open.begin(); entry != all.open.end();) {
    if (entry->second.owner == owner) {
      int fd = entry->first;
      entry = all.open.erase(entry);
      all.closings.fetch_add(1, std::memory_order_release);
      close(fd);
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
