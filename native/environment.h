// What one JavaScript environment (the main thread, or a worker) has open. Numbers that JavaScript holds are looked
// up here and nowhere else, so that a wrong number is found out and never followed.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <vector>

struct Pool;
struct Port;
struct Poller;
struct Closing;

// Small table of owned objects. An id carries the row's generation, so that a number kept after the end of its
// object does not name the next one.
template <typename T>
class Table {
 public:
  int32_t add(T* value) {
    size_t row = 0;
    while (row < rows_.size() && rows_[row].value != nullptr) row++;
    if (row == kRows) return -1;
    if (row == rows_.size()) rows_.push_back({nullptr, 0});
    rows_[row].generation = (rows_[row].generation + 1) & kGenerations;
    rows_[row].value = value;
    return static_cast<int32_t>(rows_[row].generation << kRowBits | row);
  }

  T* find(int32_t id) const {
    if (id < 0) return nullptr;
    size_t row = static_cast<uint32_t>(id) & (kRows - 1);
    if (row >= rows_.size() || rows_[row].generation != static_cast<uint32_t>(id) >> kRowBits) return nullptr;
    return rows_[row].value;
  }

  T* remove(int32_t id) {
    T* value = find(id);
    if (value != nullptr) rows_[static_cast<uint32_t>(id) & (kRows - 1)].value = nullptr;
    return value;
  }

  template <typename Visit>
  void each(Visit visit) const {
    for (const Row& row : rows_) {
      if (row.value != nullptr) visit(row.value);
    }
  }

  void clear() { rows_.clear(); }

 private:
  static constexpr size_t kRowBits = 12;
  static constexpr size_t kRows = 1 << kRowBits;
  static constexpr uint32_t kGenerations = 0x7ffff;
  struct Row {
    T* value;
    uint32_t generation;
  };
  std::vector<Row> rows_;
};

struct Environment {
  napi_env env = nullptr;
  Table<Pool> pools;
  Table<Port> ports;
  std::vector<Poller*> pollers;
  Closing* closing = nullptr;
};

// Descriptors that this addon opened, process-wide: one may be opened in one thread and closed in another. Those
// that are still open when the environment that opened them ends are closed with it.
void descriptorOpened(Environment* owner, int fd);
// Tells the descriptors apart that have had one number; 0 for a number that none opened here has.
uint64_t descriptorSerial(int fd);
// Grows with every descriptor that is closed: as long as it stays, no number means something else than before.
uint32_t descriptorClosings();
bool descriptorClose(int fd);
void descriptorsCloseAll(Environment* owner);

// Each file adds its functions to the exports.
napi_value defineFunction(napi_env env, napi_value exports, Environment* self, const char* name, napi_callback callback);
void definePool(napi_env env, napi_value exports, Environment* self);
void definePoolBursts(napi_env env, napi_value exports, Environment* self);
void definePoolRings(napi_env env, napi_value exports, Environment* self);
void definePorts(napi_env env, napi_value exports, Environment* self);
void defineMerge(napi_env env, napi_value exports, Environment* self);
void defineDescriptors(napi_env env, napi_value exports, Environment* self);
void defineTun(napi_env env, napi_value exports, Environment* self);
void defineUdp(napi_env env, napi_value exports, Environment* self);
void defineUdpLoop(napi_env env, napi_value exports, Environment* self);
void definePing(napi_env env, napi_value exports, Environment* self);
void definePacketSocket(napi_env env, napi_value exports, Environment* self);
void defineInterface(napi_env env, napi_value exports, Environment* self);
void defineTcp(napi_env env, napi_value exports, Environment* self);
void definePoller(napi_env env, napi_value exports, Environment* self);
void defineBytes(napi_env env, napi_value exports, Environment* self);
void defineMemoryKeeper(napi_env env, napi_value exports, Environment* self);

// Registers the teardown of everything that is still open when the environment ends.
bool beginEnvironment(Environment* self);
void pollersCloseAll(Environment* self);
void portsCloseAll(Environment* self);
void poolsDetachAll(Environment* self);
