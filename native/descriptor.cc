// Descriptors that pass from one process to another, over a socket that both have.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "environment.h"
#include "failure.h"

namespace {

// One message of one byte with one descriptor.
struct Message {
  char byte = 'd';
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};

  Message() {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
  }
};

napi_value descriptorSend(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Message message;
  cmsghdr* first = CMSG_FIRSTHDR(&message.header);
  first->cmsg_level = SOL_SOCKET;
  first->cmsg_type = SCM_RIGHTS;
  first->cmsg_len = CMSG_LEN(sizeof(int));
  int fd = call.integer(1);
  memcpy(CMSG_DATA(first), &fd, sizeof fd);
  if (sendmsg(call.integer(0), &message.header, MSG_NOSIGNAL) == 1) return nullptr;
  Failure failure;
  failure.set(errno, "sendmsg(SCM_RIGHTS)");
  return throwFailure(env, failure);
}

napi_value descriptorReceive(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Message message;
  Failure failure;
  if (recvmsg(call.integer(0), &message.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) {
    failure.set(errno, "recvmsg(SCM_RIGHTS)");
    return throwFailure(env, failure);
  }
  cmsghdr* first = CMSG_FIRSTHDR(&message.header);
  if (first == nullptr || first->cmsg_level != SOL_SOCKET || first->cmsg_type != SCM_RIGHTS ||
      first->cmsg_len != CMSG_LEN(sizeof(int))) {
    failure.set(EBADMSG, "recvmsg(SCM_RIGHTS)");
    return throwFailure(env, failure);
  }
  int fd;
  memcpy(&fd, CMSG_DATA(first), sizeof fd);
  descriptorOpened(call.self, fd);
  return makeInteger(env, fd);
}

}  // namespace

void defineDescriptors(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "descriptorSend", descriptorSend);
  defineFunction(env, exports, self, "descriptorReceive", descriptorReceive);
}
