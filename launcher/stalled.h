#pragma once

// How a world that was ended because it made no progress looks from outside.

namespace launcher {

// Its exit code: start it again.
inline constexpr int kExitStalled = 76;

// In each line by which a watchdog ends its world. The program `launcher`, which knows of a run only what it
// writes, looks for it.
inline constexpr char kStallMark[] = "; last events";

}  // namespace launcher
