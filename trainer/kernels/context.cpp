#include "trainer/kernels/context.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>
#include <optional>

#include "trainer/kernels/numeric.h"

namespace trainer::kernels {
namespace {

struct Scope {
  uint64_t key;
  int64_t first;
  uint64_t calls = 0;
};

thread_local Settings current_settings;
thread_local std::optional<Scope> current_scope;

}  // namespace

bool HasFastBFloat16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

Library BackwardLibrary() {
#if defined(__x86_64__)
  // Without MKL LibTorch would multiply by another library, or by loops of its own.
  static const Library library = __builtin_cpu_is("intel") && at::hasMKL() ? Library::kMkl : Library::kOneDnn;
  return library;
#else
  return Library::kOneDnn;
#endif
}

const Settings& CurrentSettings() { return current_settings; }

SettingsScope::SettingsScope(const Settings& settings) : before_(current_settings) {
  current_settings = settings;
}

SettingsScope::~SettingsScope() { current_settings = before_; }

DropoutScope::DropoutScope(uint64_t key, int64_t first_utterance) {
  TORCH_CHECK(!current_scope, "one DropoutScope at a time");
  current_scope = Scope{key, first_utterance};
}

DropoutScope::~DropoutScope() { current_scope.reset(); }

DropoutPlace NextDropoutPlace() {
  if (current_scope) {
    return {MixIndex(current_scope->key, current_scope->calls++), current_scope->first};
  }
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return {at::check_generator<at::CPUGeneratorImpl>(generator)->random64(), 0};
}

}  // namespace trainer::kernels
