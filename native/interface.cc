// The few settings of an interface that are needed where no `ip` program is: index, MTU, flags, queue length.
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "netns.h"

namespace {

struct Settings {
  char name[IFNAMSIZ];
  bool setMtu = false;
  bool setUp = false;
  bool setQueue = false;
  int mtu = 0;
  bool up = false;
  bool running = false;
  int queue = 0;
  int index = 0;
  uint8_t mac[6] = {};
};

ifreq requestFor(const Settings& settings) {
  ifreq request{};
  memcpy(request.ifr_name, settings.name, IFNAMSIZ);
  return request;
}

// Runs `apply` with a socket to ask through; the socket is the namespace.
int withSocket(Settings* settings, Failure* failure, int (*apply)(int, Settings*, Failure*)) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return failure->set(errno, "socket", settings->name);
  int result = apply(fd, settings, failure);
  close(fd);
  return result;
}

int apply(int fd, Settings* settings, Failure* failure) {
  ifreq request = requestFor(*settings);
  if (settings->setMtu) {
    request.ifr_mtu = settings->mtu;
    if (ioctl(fd, SIOCSIFMTU, &request) < 0) return failure->set(errno, "ioctl(SIOCSIFMTU)", settings->name);
  }
  if (settings->setQueue) {
    request.ifr_qlen = settings->queue;
    if (ioctl(fd, SIOCSIFTXQLEN, &request) < 0) return failure->set(errno, "ioctl(SIOCSIFTXQLEN)", settings->name);
  }
  if (settings->setUp) {
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return failure->set(errno, "ioctl(SIOCGIFFLAGS)", settings->name);
    int flags = settings->up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
    request.ifr_flags = static_cast<short>(flags);
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) return failure->set(errno, "ioctl(SIOCSIFFLAGS)", settings->name);
  }
  return 0;
}

int inspect(int fd, Settings* settings, Failure* failure) {
  ifreq request = requestFor(*settings);
  if (ioctl(fd, SIOCGIFINDEX, &request) < 0) return failure->set(errno, "ioctl(SIOCGIFINDEX)", settings->name);
  settings->index = request.ifr_ifindex;
  if (ioctl(fd, SIOCGIFMTU, &request) < 0) return failure->set(errno, "ioctl(SIOCGIFMTU)", settings->name);
  settings->mtu = request.ifr_mtu;
  if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return failure->set(errno, "ioctl(SIOCGIFFLAGS)", settings->name);
  settings->up = (request.ifr_flags & IFF_UP) != 0;
  settings->running = (request.ifr_flags & IFF_RUNNING) != 0;
  if (ioctl(fd, SIOCGIFHWADDR, &request) < 0) return failure->set(errno, "ioctl(SIOCGIFHWADDR)", settings->name);
  memcpy(settings->mac, request.ifr_hwaddr.sa_data, sizeof settings->mac);
  return 0;
}

int applyThere(void* settings, Failure* failure) {
  return withSocket(static_cast<Settings*>(settings), failure, apply);
}

int inspectThere(void* settings, Failure* failure) {
  return withSocket(static_cast<Settings*>(settings), failure, inspect);
}

// False after throwing.
bool readName(napi_env env, napi_value value, const char* call, Settings* settings) {
  char name[64];
  if (!readString(env, value, "name", name, sizeof name)) return false;
  size_t length = strlen(name);
  if (length >= IFNAMSIZ) {
    Failure failure;
    failure.set(ENAMETOOLONG, call, name);
    throwFailure(env, failure);
    return false;
  }
  memset(settings->name, 0, IFNAMSIZ);
  memcpy(settings->name, name, length);
  return true;
}

napi_value interfaceSet(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  Settings settings;
  napi_value wanted = call.values[1];
  int64_t number;
  char netns[kNamespacePath];
  if (!readName(env, call.values[0], "interfaceSet", &settings)) return nullptr;
  if ((settings.setMtu = fieldPresent(env, wanted, "mtu"))) {
    if (!fieldInteger(env, wanted, "mtu", 0, INT32_MAX, &number)) return nullptr;
    settings.mtu = static_cast<int>(number);
  }
  if ((settings.setUp = fieldPresent(env, wanted, "up"))) {
    if (!fieldBoolean(env, wanted, "up", &settings.up)) return nullptr;
  }
  if ((settings.setQueue = fieldPresent(env, wanted, "txQueueLength"))) {
    if (!fieldInteger(env, wanted, "txQueueLength", 0, INT32_MAX, &number)) return nullptr;
    settings.queue = static_cast<int>(number);
  }
  if (!readString(env, call.values[2], "netns", netns, sizeof netns)) return nullptr;
  Failure failure;
  if (inNamespace(netns, applyThere, &settings, &failure) < 0) return throwFailure(env, failure);
  return nullptr;
}

napi_value interfaceGet(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Settings settings;
  char netns[kNamespacePath];
  if (!readName(env, call.values[0], "interfaceGet", &settings)) return nullptr;
  if (!readString(env, call.values[1], "netns", netns, sizeof netns)) return nullptr;
  Failure failure;
  if (inNamespace(netns, inspectThere, &settings, &failure) < 0) return throwFailure(env, failure);
  napi_value result;
  napi_value buffer;
  napi_value mac;
  void* bytes = nullptr;
  napi_create_object(env, &result);
  setInteger(env, result, "index", settings.index);
  setInteger(env, result, "mtu", settings.mtu);
  setBoolean(env, result, "up", settings.up);
  setBoolean(env, result, "running", settings.running);
  if (napi_create_arraybuffer(env, sizeof settings.mac, &bytes, &buffer) != napi_ok) return nullptr;
  memcpy(bytes, settings.mac, sizeof settings.mac);
  napi_create_typedarray(env, napi_uint8_array, sizeof settings.mac, buffer, 0, &mac);
  napi_set_named_property(env, result, "mac", mac);
  return result;
}

}  // namespace

void defineInterface(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "interfaceSet", interfaceSet);
  defineFunction(env, exports, self, "interfaceGet", interfaceGet);
}
