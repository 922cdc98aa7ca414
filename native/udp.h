// The UDP port: declarations for udp.cc (receiving) and udp_send.cc.
#pragma once

#include "address.h"
#include "merge.h"
#include "port.h"
#include "scatter.h"

struct UdpSender;

struct UdpPort final : Port {
  int family = 4;
  bool gso = false;
  bool gro = false;
  uint8_t* rows = nullptr;
  int32_t pinned = 0;
  int32_t transient = 0;
  // The next row of the ring; shared by all ports of a network.
  int32_t* cursor = nullptr;
  // Cell 0 counts datagrams that were refused as too long; 1 + row is the length of that peer's shortest.
  int32_t* tooLong = nullptr;
  // Cell 0 counts datagrams that came back from where nobody listens; 1 + row those to that peer. Null: not asked for.
  int32_t* refused = nullptr;
  AddressIndex index;
  Scatter scatter;
  // Datagrams already handed on of the message scatter.at.
  uint32_t segment = 0;
  // How many datagrams a message brought lately; keeps a call from reading far more than it may hand on.
  int32_t perMessage = 1;
  int32_t bytesPerMessage = 0;
  // Not null when packets inside the datagrams are merged into superframes.
  Merger* merger = nullptr;
  Framing framing = Framing::kNone;
  int32_t strangers = 0;
  UdpSender* sender = nullptr;

  ~UdpPort() override;
  int32_t receive(int32_t max) override;
  int32_t send(int32_t n) override;
  void statistics() override;
  bool pin(int32_t row) override;
  bool unpin(int32_t row) override;
  // Where a packet goes; returns 0 when it has no peer that this socket can reach.
  socklen_t nameOf(int32_t handle, sockaddr_in6* name) const;
  // The kernel refused a datagram of this length to the packet's peer (EMSGSIZE).
  void noteTooLong(int32_t handle, uint32_t datagram);
  // Reads what came back (MSG_ERRQUEUE), up to a bound.
  void readErrors();

 private:
  bool deliver(int i, double now, int32_t max, int32_t* n, bool* starved);
  int32_t receiveBatch(int32_t max);
  int32_t wanted(int32_t room) const;
  void emit(int32_t handle, int32_t length, const AddressKey& from, int32_t row, uint8_t trafficClass, double now,
            int32_t* n);
};

bool prepareSender(UdpPort* port);
void freeSender(UdpPort* port);
