#pragma once

// Where signals are handled: on a thread of their own, never on one that computes.

namespace launcher {

// Lets every signal that others send to this process (not those of its own faults, nor SIGPIPE) arrive on one
// thread that does nothing else; handlers and default actions stay as they are. Call it once, before any
// other thread exists: threads inherit what they keep away from. Throws std::system_error where no thread can
// be had.
//
// Why: the kernel puts a handler's frame below the stack pointer, and oneDNN's float32 kernels for small
// matrices let that point into the heap (github.com/uxlfoundation/oneDNN/issues/4845). A signal at that
// moment overwrites whatever lies there.
void ReceiveSignalsOnOneThread();

}  // namespace launcher
