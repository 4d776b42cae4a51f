#include "launcher/signal_thread.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <thread>

namespace launcher {

void ReceiveSignalsOnOneThread() {
  sigset_t kept_away;
  sigfillset(&kept_away);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE}) {
    sigdelset(&kept_away, own);
  }
  std::thread([kept_away] {
    pthread_sigmask(SIG_UNBLOCK, &kept_away, nullptr);
    for (;;) pause();
  }).detach();
  pthread_sigmask(SIG_BLOCK, &kept_away, nullptr);
}

}  // namespace launcher
