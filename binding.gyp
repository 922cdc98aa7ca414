{
  "targets": [
    {
      "target_name": "tunconnector",
      "defines": ["NAPI_VERSION=9"],
      "conditions": [
        ["OS=='linux'", {
          "sources": [
            "native/addon.cc",
            "native/address.cc",
            "native/arguments.cc",
            "native/bytes.cc",
            "native/checksum.cc",
            "native/coalesce.cc",
            "native/descriptor.cc",
            "native/environment.cc",
            "native/interface.cc",
            "native/memory_keeper.cc",
            "native/merge.cc",
            "native/netns.cc",
            "native/offload.cc",
            "native/outgoing.cc",
            "native/ping.cc",
            "native/packet_socket.cc",
            "native/poller.cc",
            "native/poller_loop.cc",
            "native/pool.cc",
            "native/pool_burst.cc",
            "native/pool_lanes.cc",
            "native/pool_ring.cc",
            "native/port.cc",
            "native/scatter.cc",
            "native/tcp.cc",
            "native/tun.cc",
            "native/tun_drops.cc",
            "native/udp.cc",
            "native/udp_loop.cc",
            "native/udp_send.cc"
          ],
          "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
          "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden"]
        }, {
          "sources": ["native/stub.cc"]
        }]
      ]
    }
  ]
}
