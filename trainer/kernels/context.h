// What all kernels of a step share: how they compute, and where dropout's masks come from.
#pragma once

#include <cstdint>

namespace trainer::kernels {

enum class Precision {
  kFloat32,
  kBFloat16,  // inputs of matrix products and what is kept for backward; sums and parameters stay float32
};

// Whether this processor multiplies bfloat16 faster than float32.
bool HasFastBFloat16();

// Of matrix products.
enum class Library { kOneDnn, kMkl };

// The faster one for float32 backward on this processor: MKL on Intel's.
Library BackwardLibrary();

struct Settings {
  bool fused = true;  // false: LibTorch's own operations one after the other, the reference for tests
  Precision precision = Precision::kFloat32;
  // Linear adds its weight's gradient to weight.grad() itself, where that is defined, and autograd gets none:
  // for backward(), which would do the same in a pass of its own; never for torch::autograd::grad(), which
  // would miss it.
  bool accumulate = false;
  Library backward = BackwardLibrary();  // Linear's, of float32: see linear.h
};

// This thread's. What backward does was decided in forward.
const Settings& CurrentSettings();

// While it lives, this thread computes by `settings`.
class SettingsScope {
 public:
  explicit SettingsScope(const Settings& settings);
  ~SettingsScope();
  SettingsScope(const SettingsScope&) = delete;
  SettingsScope& operator=(const SettingsScope&) = delete;

 private:
  Settings before_;
};

// Note [Dropout by counter]
// Whether an element is kept is a hash of (the step's key, the place of the call in the forward pass, the
// utterance's number in the global batch, the element's number within the utterance). Nothing is drawn one
// after the other, so it vectorises, costs next to nothing, and is computed again in backward instead of
// being stored; a step that is repeated after a restart drops the same elements; and N ranks drop together
// what one rank drops.

// One call of a dropout: its masks are those of utterances `first`, `first` + 1, ...
struct DropoutPlace {
  uint64_t key = 0;
  int64_t first = 0;
};

// While it lives, this thread's calls get their places from `key`, counted from 0, for utterances from
// `first_utterance` of the global batch on.
class DropoutScope {
 public:
  DropoutScope(uint64_t key, int64_t first_utterance);
  ~DropoutScope();
  DropoutScope(const DropoutScope&) = delete;
  DropoutScope& operator=(const DropoutScope&) = delete;
};

// The next call's place; outside of any scope one drawn from LibTorch's default CPU generator.
DropoutPlace NextDropoutPlace();

}  // namespace trainer::kernels
