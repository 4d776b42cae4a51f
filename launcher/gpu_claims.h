#pragma once

// Which rank wants which GPU, and whether that works out: the judgement behind BindDevice(), apart from CUDA
// and MPI.

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace launcher::internal {

// What one rank tells all others.
struct GpuClaim {
  std::string requested;  // auto | cpu | cuda, as the user wrote it
  int threads = 0;        // as the user wrote it
  std::string host;
  int visible = 0;        // GPUs that this rank sees
  int index = -1;         // the one it would take, as it numbers them; -1: none
  std::string gpu;        // that one's UUID, the same for all who see it
  std::string why_none;   // where visible is 0
  bool unusable = false;  // this host has a driver, and why_none is a fault

  std::string Encode() const;
  // Throws Error for anything but Encode()'s output.
  static GpuClaim Decode(const std::string& text);
};

enum class Verdict { kCpu, kGpuEach, kGpuShared };

// `claims` in the order of ranks. kCpu: all compute on the CPU. Otherwise each rank takes the GPU it claims;
// kGpuShared, possible only where `may_share`, says that some claim the same one. Errors as BindDevice's.
absl::StatusOr<Verdict> JudgeClaims(const std::vector<GpuClaim>& claims, bool may_share);

}  // namespace launcher::internal
