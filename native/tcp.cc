// Nonblocking TCP byte streams for the `stream` format. Node's own sockets cannot be opened in another namespace or
// waited for in the poller that also holds the TUN.
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "address.h"
#include "arguments.h"
#include "netns.h"

namespace {

struct TcpRequest {
  sockaddr_in6 name;
  socklen_t nameLength;
  uint16_t port;
  // Milliseconds and bytes; 0 leaves the system's default.
  uint32_t timeout;
  uint32_t unsent;
};

int openStream(const TcpRequest& request, Failure* failure) {
  int fd = socket(request.name.sin6_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) failure->set(errno, "socket");
  return fd;
}

int closeWith(int fd, Failure* failure, const char* what, const TcpRequest& request) {
  int error = errno;
  char text[80];
  describeAddress(request.name, text, sizeof text);
  failure->set(error, what, text);
  close(fd);
  return -1;
}

// A small packet must not wait for the acknowledgement of the one before.
void noDelay(int fd) {
  int on = 1;
  setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof on);
}

// What TcpOptions ask for. A listening socket hands all of it down to the connections it accepts (tcp(7)). A kernel
// that lacks an option still carries the stream.
void applyOptions(int fd, const TcpRequest& request) {
  if (request.timeout > 0) {
    // Bounds unacknowledged data and, on an idle connection, unanswered keepalives (tcp_keepalive_timer), which the
    // kernel counts in whole seconds.
    unsigned int timeout = request.timeout;
    int on = 1;
    int second = 1;
    setsockopt(fd, SOL_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, SOL_TCP, TCP_KEEPIDLE, &second, sizeof second);
    setsockopt(fd, SOL_TCP, TCP_KEEPINTVL, &second, sizeof second);
  }
  if (request.unsent > 0) {
    unsigned int unsent = request.unsent;
    setsockopt(fd, SOL_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
  }
}

int listenThere(void* argument, Failure* failure) {
  TcpRequest* request = static_cast<TcpRequest*>(argument);
  int fd = openStream(*request, failure);
  if (fd < 0) return -1;
  int on = 1;
  int off = 0;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) {
    return closeWith(fd, failure, "setsockopt(SO_REUSEADDR)", *request);
  }
  // `::` takes IPv4 too, whatever the system's default is.
  if (request->name.sin6_family == AF_INET6 && setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0) {
    return closeWith(fd, failure, "setsockopt(IPV6_V6ONLY)", *request);
  }
  applyOptions(fd, *request);
  if (bind(fd, reinterpret_cast<sockaddr*>(&request->name), request->nameLength) < 0) {
    return closeWith(fd, failure, "bind", *request);
  }
  if (listen(fd, 128) < 0) return closeWith(fd, failure, "listen", *request);
  sockaddr_in6 bound;
  socklen_t length = sizeof bound;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) < 0) {
    return closeWith(fd, failure, "getsockname", *request);
  }
  request->port = portOf(bound);
  return fd;
}

int connectThere(void* argument, Failure* failure) {
  TcpRequest* request = static_cast<TcpRequest*>(argument);
  int fd = openStream(*request, failure);
  if (fd < 0) return -1;
  noDelay(fd);
  applyOptions(fd, *request);
  if (connect(fd, reinterpret_cast<sockaddr*>(&request->name), request->nameLength) < 0 && errno != EINPROGRESS) {
    return closeWith(fd, failure, "connect", *request);
  }
  return fd;
}

// False after throwing.
bool readRequest(napi_env env, napi_value options, TcpRequest* request, char* netns) {
  int64_t family;
  int64_t scope;
  int64_t port;
  int64_t timeout = 0;
  int64_t unsent = 0;
  void* address;
  size_t length;
  if (!fieldInteger(env, options, "family", 4, 6, &family)) return false;
  if (!fieldTypedArray(env, options, "address", napi_uint8_array, &address, &length)) return false;
  if (!fieldInteger(env, options, "scope", 0, UINT32_MAX, &scope)) return false;
  if (!fieldInteger(env, options, "port", 0, 65535, &port)) return false;
  if (fieldPresent(env, options, "timeout") && !fieldInteger(env, options, "timeout", 0, INT32_MAX, &timeout)) {
    return false;
  }
  if (fieldPresent(env, options, "unsent") && !fieldInteger(env, options, "unsent", 0, INT32_MAX, &unsent)) {
    return false;
  }
  if (!fieldString(env, options, "netns", netns, kNamespacePath)) return false;
  if (family == 5 || length < (family == 4 ? 4u : 16u)) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "family must be 4 or 6, and address must have its bytes");
    return false;
  }
  request->timeout = static_cast<uint32_t>(timeout);
  request->unsent = static_cast<uint32_t>(unsent);
  request->nameLength = makeSocketAddress(static_cast<int>(family), static_cast<uint8_t*>(address),
                                          static_cast<uint16_t>(port), static_cast<uint32_t>(scope), &request->name);
  return true;
}

napi_value tcpListen(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  TcpRequest request{};
  Failure failure;
  char netns[kNamespacePath];
  if (!readRequest(env, call.values[0], &request, netns)) return nullptr;
  int fd = inNamespace(netns, listenThere, &request, &failure);
  if (fd < 0) return throwFailure(env, failure);
  descriptorOpened(call.self, fd);
  napi_value result;
  napi_create_object(env, &result);
  setInteger(env, result, "fd", fd);
  setInteger(env, result, "port", request.port);
  return result;
}

napi_value tcpConnect(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  TcpRequest request{};
  Failure failure;
  char netns[kNamespacePath];
  if (!readRequest(env, call.values[0], &request, netns)) return nullptr;
  int fd = inNamespace(netns, connectThere, &request, &failure);
  if (fd < 0) return throwFailure(env, failure);
  descriptorOpened(call.self, fd);
  return makeInteger(env, fd);
}

napi_value tcpAccept(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Bytes row;
  if (!readBytes(env, call.values[1], "address", &row)) return nullptr;
  if (row.length < kAddressRow) return makeInteger(env, -EINVAL);
  sockaddr_in6 name{};
  socklen_t length = sizeof name;
  int fd = accept4(call.integer(0), reinterpret_cast<sockaddr*>(&name), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return makeInteger(env, -errno);
  noDelay(fd);
  descriptorOpened(call.self, fd);
  AddressKey::fromSocket(name).toRow(row.data);
  return makeInteger(env, fd);
}

napi_value tcpError(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(call.integer(0), SOL_SOCKET, SO_ERROR, &error, &length) < 0) error = errno;
  return makeInteger(env, error);
}

// The part of a buffer that (fd, buffer, offset, length) names; false when it is none.
struct Span {
  int fd;
  uint8_t* data;
  size_t length;

  bool read(const Arguments<4>& call) {
    napi_typedarray_type type;
    size_t size = 0;
    void* bytes = nullptr;
    if (napi_get_typedarray_info(call.env, call.values[1], &type, &size, &bytes, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      return false;
    }
    int32_t offset = call.integer(2);
    int32_t count = call.integer(3);
    if (offset < 0 || count < 0 || static_cast<size_t>(offset) > size ||
        static_cast<size_t>(count) > size - static_cast<size_t>(offset)) {
      return false;
    }
    fd = call.integer(0);
    data = static_cast<uint8_t*>(bytes) + offset;
    length = static_cast<size_t>(count);
    return true;
  }
};

napi_value readStream(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  Span span;
  if (!span.read(call)) return makeInteger(env, -EINVAL);
  ssize_t got;
  do {
    got = recv(span.fd, span.data, span.length, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return makeInteger(env, got < 0 ? -errno : static_cast<int32_t>(got));
}

napi_value writeStream(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  Span span;
  if (!span.read(call)) return makeInteger(env, -EINVAL);
  ssize_t sent;
  do {
    sent = send(span.fd, span.data, span.length, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return makeInteger(env, sent < 0 ? -errno : static_cast<int32_t>(sent));
}

napi_value shutdownStream(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  // The peer may have gone first.
  if (shutdown(call.integer(0), SHUT_WR) < 0 && errno != ENOTCONN) {
    Failure failure;
    failure.set(errno, "shutdown");
    return throwFailure(env, failure);
  }
  return nullptr;
}

}  // namespace

void defineTcp(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "tcpListen", tcpListen);
  defineFunction(env, exports, self, "tcpConnect", tcpConnect);
  defineFunction(env, exports, self, "tcpAccept", tcpAccept);
  defineFunction(env, exports, self, "tcpError", tcpError);
  defineFunction(env, exports, self, "read", readStream);
  defineFunction(env, exports, self, "write", writeStream);
  defineFunction(env, exports, self, "shutdown", shutdownStream);
}
