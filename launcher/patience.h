#pragma once

// How this library waits for other ranks, between one look and the next.

namespace launcher::internal {

// Note [Waiting without burning a core]
// CPU ranks have no core to spare: whoever spins while a peer is late takes time from computing, on this rank
// or on that very peer. So the first 200 waits only give the core away, then they are naps of 20 us, and
// after 100 of those of 100 us: measured on a loaded virtual machine, 9% of a core while waiting for seconds.
// Napping from the start would cost a sum of 100 KB 0.35 ms.
class Patience {
 public:
  void Wait();

 private:
  int waits_ = 0;
};

}  // namespace launcher::internal
